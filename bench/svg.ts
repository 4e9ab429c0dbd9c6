/** Pieces of SVG as text. No I/O. */

/** Text for an element or an attribute. */
export const escapeXml = (text: string): string => text.replace(/[&<>"']/g, (one) => `&#${one.charCodeAt(0)};`);

export type Attributes = Readonly<Record<string, string | number>>;

/** `<name …>content</name>`; numbers with at most one digit after the point. @param content SVG, not plain text */
export function element(name: string, attributes: Attributes, content = ''): string {
  const text = Object.entries(attributes)
    .map(([key, value]) => ` ${key}="${typeof value === 'number' ? Number(value.toFixed(1)) : escapeXml(value)}"`)
    .join('');
  return content === '' ? `<${name}${text}/>` : `<${name}${text}>${content}</${name}>`;
}

export const textElement = (x: number, y: number, text: string, attributes: Attributes = {}): string =>
  element('text', { x, y, ...attributes }, escapeXml(text));

export interface Picture {
  readonly width: number;
  readonly height: number;
  /** Plain text, as the description. */
  readonly title: string;
  readonly description: string;
  readonly css: string;
  readonly fontFamily: string;
  readonly fontSize: number;
  /** SVG, in the order in which it is drawn. */
  readonly parts: readonly string[];
}

/** Fonts of charts. */
export const SANS = 'system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif';

/** A whole document, which screen readers take as one picture with a name and a description. */
export function picture({ width, height, title, description, css, fontFamily, fontSize, parts }: Picture): string {
  const attributes = {
    xmlns: 'http://www.w3.org/2000/svg',
    viewBox: `0 0 ${width} ${height}`,
    width,
    height,
    role: 'img',
    'aria-labelledby': 'title description',
    'font-family': fontFamily,
    'font-size': fontSize,
  };
  const all = [
    element('title', { id: 'title' }, escapeXml(title)),
    element('desc', { id: 'description' }, escapeXml(description)),
    element('style', {}, css),
    ...parts,
  ];
  return `${element('svg', attributes, `\n${all.join('\n')}\n`)}\n`;
}

export const SHAPES = ['circle', 'square', 'triangle', 'diamond'] as const;
export type Shape = (typeof SHAPES)[number];

/** A mark of `radius` around x, y. */
export function marker(shape: Shape, x: number, y: number, radius: number, attributes: Attributes): string {
  const path = (...corners: readonly (readonly [number, number])[]): string =>
    element('path', {
      d: `M${corners.map(([dx, dy]) => `${(x + dx * radius).toFixed(1)} ${(y + dy * radius).toFixed(1)}`).join('L')}Z`,
      ...attributes,
    });
  switch (shape) {
    case 'circle':
      return element('circle', { cx: x, cy: y, r: radius, ...attributes });
    case 'square':
      return path([-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]);
    case 'triangle':
      return path([0, -1.15], [1.05, 0.85], [-1.05, 0.85]);
    case 'diamond':
      return path([0, -1.25], [1.1, 0], [0, 1.25], [-1.1, 0]);
  }
}
