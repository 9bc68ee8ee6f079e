/** A value or a document that could not be mapped, kept where an operator sees it. */
export interface Reject {
  readonly version: number;
  /** The document's key as text; "" where even that could not be read. */
  readonly docId: string;
  /** Column that the value was meant for; null where the whole document is concerned. */
  readonly column: string | null;
  /** What did not fit, in words. */
  readonly reason: string;
  /** The value's relaxed Extended JSON, cut to 200 characters. */
  readonly sample: string;
}
