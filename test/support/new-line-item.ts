/** A catalog file of one more line item, with one ad in a size (333x77) that nobody else of the demo market sells. */
export const newLineItemFile = {
  advertisers: [{ id: 'adv-new', name: 'New', domain: 'new.example', category: 'IAB3' }],
  creatives: [
    {
      id: 'cr-new',
      format: 'banner',
      width: 333,
      height: 77,
      image_url: 'https://cdn.new.example/a.jpg',
      domain: 'new.example',
      categories: ['IAB3-1'],
      secure: true,
      landing_url: 'https://new.example/',
    },
  ],
  line_items: [
    {
      id: 'li-new',
      campaign_id: 'cmp-new',
      advertiser_id: 'adv-new',
      status: 'active',
      price_type: 'CPM',
      bid_nanos: 2_000_000,
      budget_nanos: 10_000_000_000,
      pacing: 'asap',
      prior_click: 0.01,
      prior_conversion: 0.05,
      creative_ids: ['cr-new'],
    },
  ],
};
