# SPDX-License-Identifier: Apache-2.0
"""Links of the documents to files and headings of the tree, and the options of flowrun they name, must be there.

    python3 links.py TREE FLOWRUN
"""
import os, re, subprocess, sys

tree, flowrun = sys.argv[1:]
files = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"], cwd=tree, capture_output=True, text=True,
                       check=True).stdout.split()
failed = links = named = 0


def complete(*words):
    out = subprocess.run([flowrun, "complete", *words], cwd="/", capture_output=True, text=True, check=True).stdout
    return [line.split("\t")[0] for line in out.splitlines()]


def plain(text):
    return re.sub(r"```.*?```", "", text, flags=re.S)


def anchors(path):
    """As the forges make them of headings: lower case, no punctuation, hyphens for spaces."""
    out, seen = set(), {}
    for line in plain(open(path).read()).splitlines():
        if line.startswith("#"):
            slug = re.sub(r"[^\w\- ]", "", re.sub(r"`|\*", "", line.lstrip("#").strip()).lower()).replace(" ", "-")
            seen[slug] = seen.get(slug, -1) + 1
            out.add(slug if not seen[slug] else "%s-%d" % (slug, seen[slug]))
    return out


def fail(path, what):
    global failed
    failed += 1
    print("FAIL: %s: %s" % (path, what))


commands = [c for c in complete("") if not re.search("[/.]", c)]
others = set()  # of scripts of the tree, which documents name too
for folder in ("tools", "tests/bench", "tests/golden"):
    for name in os.listdir(os.path.join(tree, folder)):
        if os.path.isfile(os.path.join(tree, folder, name)):
            others.update(re.findall(r"--[a-z][a-z-]*", open(os.path.join(tree, folder, name), errors="replace").read()))
options = {"--version", "--help"}.union(*(complete(c, "--") for c in commands))
for path in files:
    if not os.path.exists(os.path.join(tree, path)):
        continue
    text = plain(open(os.path.join(tree, path)).read())
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", text)):
        if re.match(r"[a-z]+:", target):
            continue
        links += 1
        file, _, anchor = target.partition("#")
        full = os.path.normpath(os.path.join(tree, os.path.dirname(path), file)) if file else os.path.join(tree, path)
        if not os.path.exists(full):
            fail(path, "links to %s, which is not there" % target)
        elif anchor and full.endswith(".md") and anchor not in anchors(full):
            fail(path, "links to %s: there is no such heading" % target)
    for code in re.findall(r"`([^`\n]+)`", text):
        words = code.split()
        if not words or not (words[0] == "flowrun" or words[0].startswith("--")) or "cmake" in text[max(0, text.find(code) - 40):text.find(code)]:
            continue
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", code):
            named += 1
            if option not in options and (words[0] == "flowrun" or option not in others):
                fail(path, "names %s, which no command of flowrun takes" % option)
        if words[0] == "flowrun" and len(words) > 1 and re.fullmatch("[a-z][a-z-]+", words[1]) and words[1] not in commands:
            fail(path, "names flowrun %s, which there is not" % words[1])
print("%d links, %d options named, %d failed" % (links, named, failed))
sys.exit(failed > 0 or links < 50 or named < 20)
