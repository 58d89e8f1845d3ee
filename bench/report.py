#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# From the benchmark's results to Markdown and a picture.
"""Put results of the benchmark into a document.

  report.py DOCUMENT RESULTS.json...

Between "<!-- results -->" and "<!-- end of results -->" come the tables, and
DOCUMENT's name with .svg instead of .md becomes the plot.
"""

import json
import os
import statistics
import sys

NAMES = {'ours': 'nbdkit-vmdk', 'raw': 'nbdkit file, raw bytes',
         'qemu': 'qemu', 'uring': 'qemu, io_uring'}
FOREIGN = 0.15  # processors: what others may use during a sample


def values(row, name):
    return [sample['value'] for sample in row['samples'].get(name, [])]


def median(row, name):
    found = values(row, name)
    return statistics.median(found) if found else None


def spread(row, name):
    found = values(row, name)
    return (max(found) - min(found)) / statistics.median(found)


def ratio(row, names):
    """How many times as good as the best of these we are."""
    ours = median(row, 'ours')
    others = [m for m in (median(row, name) for name in names) if m]
    if not ours or not others:
        return None
    if row['unit'] in ('ms', 's'):
        return min(others) / ours
    return ours / max(others)


def number(value):
    return '%.3g' % value if value < 100 else '{:,.0f}'.format(value)


def cell(row, name):
    if name in row['failed']:
        return 'failed'
    if not values(row, name):
        return ''
    text = number(median(row, name))
    if len(values(row, name)) > 1:
        text += ' (%.0f %%)' % (spread(row, name) * 100)
    return text + ' !' * disturbed(row, name)


def disturbed(row, name):
    return not row['disk'] and statistics.median(
        sample['foreign'] for sample in row['samples'][name]) > FOREIGN


def ratio_cell(row, names, wanted):
    """The ratio, and whether it is what is wanted."""
    value = ratio(row, names)
    if value is None:
        return ''
    text = '%.3g' % value if value < 100 else '%.0f' % value
    if wanted is None:
        return text
    if value >= wanted:
        return '%s (%g)' % (text, wanted)
    doubt = max(spread(row, name) for name in ('ours', *names)
                if values(row, name))
    return '**%s** (%g)%s' % (text, wanted, ', in the spread'
                              if value * (1 + doubt) >= wanted else '')


def qemu_wanted(results, row):
    if results['one_cpu'] and row['qemu']:
        return row['one_cpu']
    return row['qemu']


def line(row):
    """A row for whoever waits."""
    return '%-20s %-6s %s' % (row['name'], row['unit'], '  '.join(
        '%s %s' % (name, cell(row, name)) for name in row['servers']))


def table(results):
    names = [n for n in NAMES if any(n in row['servers']
                                     for row in results['rows'])]
    head = ['work', ''] + [NAMES[n] for n in names] + ['to raw', 'to qemu']
    lines = ['| %s |' % ' | '.join(head),
             '|---|---|' + '---:|' * (len(head) - 2)]
    for row in results['rows']:
        if row['plot']:
            continue
        cells = [row['title'], row['unit']]
        cells += [cell(row, name) for name in names]
        cells.append(ratio_cell(row, ['raw'], row['raw']))
        cells.append(ratio_cell(row, ['qemu', 'uring'],
                                qemu_wanted(results, row)))
        lines.append('| %s |' % ' | '.join(cells))
    return lines


def failures(results):
    return ['- `%s`, %s: %s' % (row['name'], NAMES[name], why)
            for row in results['rows'] for name, why in row['failed'].items()]


def markdown(results):
    about = results['about']
    lines = ['%s; %s; %s.' % (about['machine'], about['programs'],
                              about['date']), '',
             '    ' + about['command'], '']
    lines += table(results)
    if failures(results):
        lines += ['', 'Failed:', ''] + failures(results)
    return lines


# The picture.  Colours that can be seen on white and on black.

COLOURS = {'ours': '#1f8fe0', 'raw': '#8c8c8c', 'qemu': '#d98200',
           'uring': '#b45fd0'}
WIDTH, HEIGHT, LEFT, TOP, STEP = 340, 260, 70, 54, 440


def nice_top(value):
    """A round number above it, and the distance of the lines."""
    power = 10 ** (len(str(int(value))) - 1)
    step = next(s * power for s in (0.2, 0.5, 1, 2, 5)
                if value / (s * power) <= 5)
    count = int(value / step) + 1
    return step * count, step


def panel(rows, index):
    """One diagram: its axes, and a line for each server."""
    x0, y0 = LEFT + index * STEP, TOP + HEIGHT
    xs = [row['plot'][1] for row in rows]
    top, step = nice_top(max(max(values(row, name)) for row in rows
                             for name in row['samples']))

    def place_x(i):
        return x0 + WIDTH * (i + 0.5) / len(xs)

    def place_y(value):
        return y0 - HEIGHT * value / top

    out = []
    for i in range(int(top / step + 0.5) + 1):
        y = place_y(i * step)
        out.append('<path class="grid" d="M%d %.1fh%d"/>' % (x0, y, WIDTH))
        out.append('<text x="%d" y="%.1f" text-anchor="end">%s</text>' % (
            x0 - 8, y + 4, '{:,.0f}'.format(i * step)))
    for i, x in enumerate(xs):
        out.append('<text x="%.1f" y="%d" text-anchor="middle">%d</text>' % (
            place_x(i), y0 + 18, x))
    out.append('<text x="%d" y="%d" text-anchor="middle">%s</text>' % (
        x0 + WIDTH // 2, y0 + 40, rows[0]['plot'][0]))
    for name in sorted(NAMES, key=lambda n: n == 'ours'):
        points = [(place_x(i), place_y(median(row, name)), place_y(
            min(values(row, name))), place_y(max(values(row, name))))
            for i, row in enumerate(rows) if values(row, name)]
        out.append('<g stroke="%s" fill="none">' % COLOURS[name])
        out.append('<path stroke-width="%s" d="M%s"/>' % (
            3 if name == 'ours' else 2,
            'L'.join('%.1f %.1f' % p[:2] for p in points)))
        out += ['<path d="M%.1f %.1fV%.1f"/>' % (x, low, high)
                for x, _, low, high in points]
        out += ['<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>' % (
            x, y, COLOURS[name]) for x, y, _, _ in points]
        out.append('</g>')
    return out


def svg(results):
    panels = {}
    for row in results['rows']:
        if row['plot'] and row['samples']:
            panels.setdefault(row['plot'][0], []).append(row)
    if not panels:
        return None
    width = max(LEFT + len(panels) * STEP - 20, 720)
    out = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" '
           'font-family="sans-serif" font-size="12">' % (
               width, TOP + HEIGHT + 52),
           '<title>Random reads of 4 KiB per second</title>',
           '<style>text{fill:#333}.grid{stroke:#888;stroke-opacity:.35}'
           '@media(prefers-color-scheme:dark){text{fill:#ddd}}</style>',
           '<text x="%d" y="16" font-size="14">random reads of 4 KiB per '
           'second: median, and from least to most</text>' % (LEFT - 60)]
    for i, name in enumerate(NAMES):
        x = LEFT - 60 + i * 180
        out.append('<path stroke="%s" stroke-width="3" d="M%d 34h24"/>' % (
            COLOURS[name], x))
        out.append('<text x="%d" y="38">%s</text>' % (x + 30, NAMES[name]))
    for i, rows in enumerate(panels.values()):
        out += panel(rows, i)
    return '\n'.join(out + ['</svg>', ''])


def save(path, text):
    with open(path, 'w', encoding='utf-8') as f:
        f.write(text)
    print('written: ' + path)


def write(results, out):
    text = '\n'.join(markdown(results)) + '\n'
    print(text)
    save(out + '.md', text)
    picture = svg(results)
    if picture:
        save(out + '.svg', picture)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    document, lines, titles = sys.argv[1], [], []
    for path in sys.argv[2:]:
        with open(path, encoding='utf-8') as f:
            results = json.load(f)
        title = ('### Everything on one processor' if results['one_cpu']
                 else '### All processors')
        again = ', once more' if title in titles else ''
        titles.append(title)
        lines += ['', title + again, ''] + markdown(results)
        picture = svg(results)
        if picture:
            save(os.path.splitext(document)[0] + '.svg', picture)
    with open(document, encoding='utf-8') as f:
        before, rest = f.read().split('<!-- results -->\n')
        after = rest.split('<!-- end of results -->\n')[1]
    save(document, before + '<!-- results -->\n' + '\n'.join(lines) +
         '\n\n<!-- end of results -->\n' + after)


if __name__ == '__main__':
    main()
