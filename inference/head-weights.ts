/** Sizes of the cross-network head. `cross` features are per candidate; `heads` are click and conversion given click. */
export type HeadDims = {
  readonly user: number;
  readonly ad: number;
  readonly cross: number;
  readonly rank: number;
  readonly hidden1: number;
  readonly hidden2: number;
  readonly heads: number;
};

/** What Gavelin serves: x0 is 64 + 64 + 16 = 144 wide. */
export const servedDims: HeadDims = { user: 64, ad: 64, cross: 16, rank: 32, hidden1: 128, hidden2: 64, heads: 2 };

/**
 * Parameters of the head, row-major float32. With D = user + ad + cross and x0 = [u, a, c]:
 *
 *   x1 = x0 ⊙ (U1·(V1ᵀ·x0) + b1) + x0            low-rank DCN-v2 (Wang et al., WWW 2021, eq. 2)
 *   x2 = x0 ⊙ (U2·(V2ᵀ·x1) + b2) + x1
 *   m  = relu(W2ᵀ·relu(W1ᵀ·x0 + d1) + d2)        the MLP stands beside the cross layers, so both start linear in x0
 *   logit_h = wx_hᵀ·x2 + wm_hᵀ·m + Σ_d g_hd·u_d·a_d + bias_h
 */
export type HeadWeights = {
  readonly dims: HeadDims;
  /** [D, rank] each. */
  readonly v1: Float32Array;
  readonly v2: Float32Array;
  /** [rank, D] each: the expansion, transposed so that a batch multiplies from the left. */
  readonly u1: Float32Array;
  readonly u2: Float32Array;
  /** [D] each. */
  readonly b1: Float32Array;
  readonly b2: Float32Array;
  /** [D, hidden1], [hidden1], [hidden1, hidden2], [hidden2]. */
  readonly w1: Float32Array;
  readonly d1: Float32Array;
  readonly w2: Float32Array;
  readonly d2: Float32Array;
  /** Output weights: [D, heads] on x2, [hidden2, heads] on m, [user, heads] on u ⊙ a, [heads] bias. */
  readonly wx: Float32Array;
  readonly wm: Float32Array;
  readonly g: Float32Array;
  readonly bias: Float32Array;
};
