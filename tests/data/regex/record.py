#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What google-re2 (RE2 in its Latin-1 mode, as Envoy uses it) says about generated patterns and texts.

record.py          writes recorded.jsonl beside this file
record.py --check  compares recorded.jsonl with what the installed google-re2 says

One line a pattern; every character of a string is one byte. Refused ones: `error`, RE2's message. Others: `size`, RE2's program size, and
`texts`: [text, does the whole text match, spans of the first match and of each capture in it or null].
"""
import json
import pathlib
import random
import sys

import re2

SEED = 20240607
VALID, REFUSED, TEXTS = 3600, 1600, 6

ATOMS = [b'a', b'b', b'c', b'1', b'_', b' ', b'/', b'.', b'\\d', b'\\w', b'\\s', b'\\D', b'\\W', b'\\S', b'[ab]', b'[^a]', b'[a-c]',
         b'[[:alpha:]]', b'[[:^digit:]x]', b'[\\w-]', b'\\pN', b'\\p{Lu}', b'\\PL', b'\\x61', b'\\x{e9}', b'\\101', b'\\n', b'\n', b'\xe9',
         b'[\xc3\xa9]', b'\\.', b'\\/', b'\\Qa.b\\E', b'\\C', b'[]a]', b'[^]a]', b'[a\\]b]', b'\\a', b'\\-', b'ab', b'abc', b'{', b'{,2}',
         b'a{,2}', b'\\0', b'\\07', b'[[:word:]]', b'[\\d\\s]', b'[^\\W]', b'\\x7f', b'[\\x00-\\x1f]', b'\xff', b'K', b'k', b'\\p{^L}',
         b'\\p{Greek}', b'[\\PN]', b'[-a]', b'[a-]', b'[+--]']
ASSERTIONS = [b'^', b'$', b'\\b', b'\\B', b'\\A', b'\\z']
COUNTS = [b'*', b'+', b'?', b'*?', b'+?', b'??', b'{2}', b'{0,2}', b'{1,3}', b'{2,}', b'{0}', b'{0,}', b'{1,2}?', b'{3}?']
BROKEN = [b'(', b')', b'[', b']', b'*', b'+', b'?', b'{2}', b'{2,1}', b'{1001}', b'\\', b'\\1', b'\\8', b'\\y', b'\\x', b'\\xg',
          b'\\x{100}', b'\\x{}', b'\\p', b'\\p{', b'\\pX', b'\\p{Foo}', b'(?', b'(?=', b'(?!a)', b'(?<=a)', b'(?<n', b'(?<n>', b'(?P<n>',
          b'(?P<>a)', b'(?P<a-b>', b'(?P=n)', b'(?P<\xe9>a)', b'(?z)', b'(?i', b'(?i-', b'(?-)', b'(?i--s)', b'(?i-)', b'(?-i)', b'[z-a]',
          b'[a-\\d]', b'[[:foo:]]', b'[[:alpha:', b'[[:', b'[\\', b'[\\p', b'[\\pN', b'[^', b'[]', b'[^]', b'\\777', b'\\400', b'\\377',
          b'\\18', b'\\9', b'a**', b'a*?', b'a*??', b'a{2}{3}', b'a{2}*', b'a*{2}', b'a{01}', b'a{1,01}', b'a{99999999999}', b'\\E', b'\\Q',
          b'\\Qab', b'\\Z', b'\\G', b'\\u', b'|', b'||', b'(|)', b'()', b'(?:)', b'[[.a.]]', b'[[=a=]]', b'\\cA', b'\\_', b'\\\xe9', b'a{2',
          b'a{2,', b'a{,}', b'{', b'}', b'(?i)(?-i)', b'(?#c)', b'(?>a)', b'\\b{2}', b'^*', b'$+', b'(?:^)*', b'x{0}', b'x{0,0}',
          b'((a{10}){10}){10}', b'((a{10}){10}){11}', b'(a{0}){1000}', b'(((a{2}){2}){2})']
LETTERS = [b'a', b'b', b'c', b'A', b' ', b'\n', b'1', b'/', b'\xe9', b'_', b'x', b'\0']


def choices(r, depth):
    return b'|'.join(pattern(r, depth + 1) if r.random() < .9 else b'' for _ in range(r.randint(1, 3)))


def pattern(r, depth=0):
    k = r.random()
    if depth > 4 or k < .35:
        x = r.random()
        if x < .1:
            return r.choice(ASSERTIONS)
        return r.choice([b'a', b'b', b'c', b'ab', b'.', b'A']) if x < .55 else r.choice(ATOMS)
    if k < .6:
        return b''.join(pattern(r, depth + 1) for _ in range(r.randint(1, 3)))
    if k < .72:
        return b'(?:' + choices(r, depth) + b')'
    if k < .82:
        return b'(' + choices(r, depth) + b')'
    if k < .86:
        return r.choice([b'(?i:', b'(?s:', b'(?m:', b'(?U:', b'(?-i:', b'(?im-s:']) + pattern(r, depth + 1) + b')'
    if k < .88:
        return r.choice([b'(?i)', b'(?m)', b'(?s)', b'(?U)', b'(?-s)']) + pattern(r, depth + 1)
    body = pattern(r, depth + 1)
    return (b'(?:' + body + b')' if r.random() < .6 else body) + r.choice(COUNTS)


def spoiled(r):
    p = pattern(r)
    for _ in range(r.randint(1, 3)):
        at, k = r.randint(0, len(p)), r.random()
        if k < .6:
            p = p[:at] + r.choice(BROKEN) + p[at:]
        else:
            p = p[:at] + p[at + 1:] if k < .8 else p[:at]
    return p


def text(r):
    return b''.join(r.choice(LETTERS[:3] if r.random() < .7 else LETTERS) for _ in range(r.randint(0, 8)))


def latin1():
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    return options


def chars(text):
    return text.decode('latin-1')


def judge(options, p, texts):
    try:
        compiled = re2.compile(p, options)
    except re2.error as error:
        # RE2 quotes the whole pattern as it came, and a part of it from its own UTF-8.
        whole = error.args[0].split(b':')[0] in (b'missing )', b'unexpected )')
        return {'pattern': chars(p), 'error': error.args[0].decode('latin-1' if whole else 'utf-8')}
    judged = []
    for t in texts:
        found = compiled.search(t)
        spans = [list(found.span(i)) for i in range(compiled.groups + 1)] if found else None
        judged.append([chars(t), compiled.fullmatch(t) is not None, spans])
    return {'pattern': chars(p), 'size': compiled.programsize, 'texts': judged}


def pick(r, options, p):
    """Half of the texts match, if such are found."""
    compiled = re2.compile(p, options)
    yes, no = [], []
    for _ in range(60):
        t = text(r)
        side = yes if compiled.fullmatch(t) else no
        if t not in side:
            side.append(t)
    texts = yes[:TEXTS // 2]
    texts += no[:TEXTS - len(texts)]
    return texts + yes[TEXTS // 2:TEXTS // 2 + TEXTS - len(texts)]


def generate(options):
    r, seen, valid, refused, lines = random.Random(SEED), set(), 0, 0, []
    while valid < VALID or refused < REFUSED:
        p = pattern(r) if r.random() < .7 else spoiled(r)
        if not p or p in seen:
            continue
        seen.add(p)
        try:
            re2.compile(p, options)
        except re2.error:
            # RE2 reads past the end of `\\x{` and finds invalid UTF-8 there: an accident.
            if refused < REFUSED and b'\\x{' not in p[-4:]:
                lines.append(judge(options, p, []))
                refused += 1
            continue
        if valid < VALID:
            lines.append(judge(options, p, pick(r, options, p)))
            valid += 1
    return lines


def main():
    path, options = pathlib.Path(__file__).with_name('recorded.jsonl'), latin1()
    if '--check' not in sys.argv:
        path.write_text(''.join(json.dumps(line, ensure_ascii=False) + '\n' for line in generate(options)))
        return 0
    wrong = pairs = 0
    for line in path.read_text().splitlines():
        said = json.loads(line)
        texts = [t[0].encode('latin-1') for t in said.get('texts', [])]
        now = judge(options, said['pattern'].encode('latin-1'), texts)
        pairs += len(texts) or 1
        if now != said:
            wrong += 1
            print(f'recorded: {said}\nnow:      {now}')
    print(f'{pairs} answers compared, {wrong} patterns differ')
    return 1 if wrong else 0


sys.exit(main())
