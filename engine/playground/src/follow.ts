/** Keeps the end of a text in view while it grows, as long as its reader is there. */

/** Pixels that stay free below the end. */
const MARGIN = 16;
/** Pixels that the end may be out of its place and still count as there. */
const SLACK = 8;

/** Return true if the end of an element is in view.
 *
 * @param floor Where the view ends, in pixels from its top.
 */
export function isEndInView(element: HTMLElement, floor = bottom()): boolean {
  const { scrollTop, clientHeight, scrollHeight } = element;
  if (scrollTop + clientHeight < scrollHeight - SLACK) return false;
  return element.getBoundingClientRect().bottom + MARGIN <= floor + SLACK;
}

/** Scroll down to the end of an element, and never up. */
export function showEnd(element: HTMLElement, floor = bottom()): void {
  element.scrollTop = element.scrollHeight;
  const below = element.getBoundingClientRect().bottom + MARGIN - floor;
  if (below > 0) scrollBy(0, below);
}

function bottom(): number {
  return document.documentElement.clientHeight;
}
