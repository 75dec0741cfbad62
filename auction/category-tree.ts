/** The taxonomy that the catalog is written in: IAB Content Category Taxonomy 1.0, OpenRTB `cattax` 1. */
export const ownTaxonomy = 1;

/** "IAB2" and "IAB2-3": 26 tiers, each with at most 70 categories below it. */
const form = /^IAB([1-9]|1\d|2[0-6])(-[1-9]\d?)?$/u;

export function isCategory(word: string): boolean {
  return form.test(word);
}

/** "IAB2" of "IAB2-3"; a top category is its own. */
export function topCategory(category: string): string {
  const dash = category.indexOf('-');
  return dash < 0 ? category : category.slice(0, dash);
}

/** The categories above this one: blocking any of them blocks it. */
export function categoryAncestors(category: string): readonly string[] {
  const top = topCategory(category);
  return top === category ? [] : [top];
}
