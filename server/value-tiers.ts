/** What a request is worth to us: premium ones keep the dear rungs longest. */
export const valueTiers = ['premium', 'standard', 'basic'] as const;
export type ValueTier = (typeof valueTiers)[number];
