#!/usr/bin/env python3
"""Checks that references in this tree resolve: ids of requirements and invariants, documents, headings and decisions.

Rules:
1.  An id of a requirement of runtimes, (E7), (A1) and so on, in a comment or docstring exists in docs/RUNTIMES.md, once.
2.  An id of an invariant, I1 or F1, in a comment is defined in the same file; or in the header that the file is a part or
    a test of (cloud.h for cloud_age.cc and cloud_age_test.cc); or in a file that the comment names, as fdb.h or Fdb. A
    definition is a comment line that starts with the id, followed by two spaces ("//   I1  A frame is ...") or, in the
    comment at the head of the file, by a colon.
    A file defines an id once.
3.  A document that a comment or another document names exists; so does the heading that stands in quotation marks behind
    it, and the decision of a number such as docs/decisions/0014.
4.  A relative link in a document leads to a file and, with #heading, to a heading of it.
5.  A path of a file that a document or a BUILD comment names exists, as plugin/fdb/fdb.cc; and a function that stands
    behind it in docs/ARCHITECTURE.md, as `agent/main.cc`, `Run`, is in that file.

Limits: the test reads text, not C++. It sees ids in comments and docstrings only, not in other strings. V4 and V6, which
name IP versions in code, are no ids. If a file and a header that its comment names both define I2, it cannot tell which one is
meant. It cannot tell whether code does what the id says.

Outside of Bazel: python3 docs/references_test.py
"""

import ast
import io
import os
import re
import subprocess
import sys
import tokenize

# The tree itself, not the runfiles: Bazel links this file to its source.
ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

CODE = (".cc", ".h", ".c")
REQUIREMENT = re.compile(r"(?<![\w.\-/#:])([ACDEGMNPSV][1-9][0-9]?)(?![\w:]*\w)")
INVARIANT = re.compile(r"(?<![\w.\-/#:])([IF][1-9][0-9]?)(?![\w:]*\w)")
NOT_AN_ID = {"V4", "V6"}
DEFINITION = re.compile(r"^\s*([IF][1-9][0-9]?)(  |: )")


def tracked():
    """Paths of all files of the tree that are not generated and not third-party."""
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard"],
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    if listed.returncode == 0:
        paths = listed.stdout.splitlines()
    else:  # an archive without .git
        paths = [os.path.relpath(os.path.join(folder, name), ROOT)
                 for folder, _, names in os.walk(ROOT) for name in names]
    return [p for p in paths if not p.startswith(("third_party/", "bazel-", ".git/")) and os.path.isfile(os.path.join(ROOT, p))]


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8", errors="replace") as f:
        return f.read()


# Literals first, so that "//" within a string is no comment.
C_TOKEN = re.compile(r"""R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|'(?:\\[^'\n]+|[^'\\\n])'|(//[^\n]*|/\*.*?\*/)""", re.DOTALL)


def c_comments(text):
    """(line, text) of each comment line; consecutive lines of // are separate."""
    for token in C_TOKEN.finditer(text):
        if token.group(2):
            line = text.count("\n", 0, token.start()) + 1
            for offset, part in enumerate(token.group(2).splitlines()):
                yield line + offset, re.sub(r"^\s*(//|/\*|\*)|\*/$", "", part)


def python_comments(text):
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and isinstance(
                getattr(body[0].value, "value", None), str):
            for offset, part in enumerate(body[0].value.value.splitlines()):
                yield body[0].lineno + offset, part
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("#")


def hash_comments(text):
    for number, line in enumerate(text.splitlines(), 1):
        comment = re.search(r"(?:^|\s)#(.*)", line)
        if comment:
            yield number, comment.group(1)


def comments(path, text):
    if path.endswith(CODE):
        return list(c_comments(text))
    if path.endswith(".py"):
        return list(python_comments(text))
    name = os.path.basename(path)
    if name in ("BUILD", "WORKSPACE", "vxvde-node") or name.endswith((".bzl", ".sh", ".yaml", ".service", ".socket")):
        return list(hash_comments(text))
    return []


def blocks(lines):
    """Joins comment lines that follow each other, since a citation and the file that it names may be on two lines."""
    block, last = [], None
    for line, text in sorted(lines):
        if last is not None and line > last + 1:
            yield block
            block = []
        block.append((line, text))
        last = line
    if block:
        yield block


def snake(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


class Tree:
    def __init__(self):
        self.text = {}
        self.comments = {}
        for path in tracked():
            if path.endswith(CODE + (".py", ".md", ".bzl", ".sh", ".yaml", ".service", ".socket")) or os.path.basename(
                    path) in ("BUILD", "WORKSPACE", "vxvde-node"):
                self.text[path] = read(path)
                self.comments[path] = comments(path, self.text[path])
        self.errors = []
        self.definitions = {}  # path -> ids
        for path, lines in self.comments.items():
            code = re.search(r"^[^/\s*]", self.text[path], re.MULTILINE)  # the end of the comment at the head
            head = self.text[path].count("\n", 0, code.start()) + 1 if code else 0
            self.definitions[path] = {}
            for line, text in lines:
                found = DEFINITION.match(text)
                if not found or (found.group(2) == ": " and line >= head):
                    continue
                if found.group(1) in self.definitions[path]:
                    self.error(path, line, f"{found.group(1)} is defined twice")
                self.definitions[path][found.group(1)] = line

    def error(self, path, line, message):
        self.errors.append(f"{path}:{line}: {message}")

    def own(self, path):
        """The file itself, and the headers of its folder that it is a part or a test of: cloud.h for cloud_age_test.cc."""
        folder, stem = os.path.dirname(path), os.path.basename(path).rsplit(".", 1)[0]
        return [path] + [p for p in self.definitions if os.path.dirname(p) == folder and p.endswith(".h")
                         and (stem + "_").startswith(os.path.basename(p)[:-2] + "_")]

    def named(self, block):
        """Files that a comment names: fdb.h, or Fdb and FDB for fdb.h."""
        text = " ".join(part for _, part in block)
        names = set(re.findall(r"\b([\w]+\.(?:h|cc|c))\b", text))
        names |= {snake(word) + ".h" for word in re.findall(r"\b[A-Z]\w+\b", text)}
        return [path for path in self.definitions if os.path.basename(path) in names]


def check_requirements(tree):
    defined = {}
    for line, text in enumerate(tree.text["docs/RUNTIMES.md"].splitlines(), 1):
        row = re.match(r"\| ([A-Z][0-9]+) \|", text)
        if row and row.group(1) in defined:
            tree.error("docs/RUNTIMES.md", line, f"{row.group(1)} has two rows")
        elif row:
            defined[row.group(1)] = line
            if not REQUIREMENT.fullmatch(row.group(1)):
                tree.error("docs/RUNTIMES.md", line, f"{row.group(1)} is an id of another family")
    cited = 0
    for path, lines in tree.comments.items():
        for line, text in lines:
            for one in REQUIREMENT.findall(text):
                if one in NOT_AN_ID:
                    continue
                cited += 1
                if one not in defined:
                    tree.error(path, line, f"{one} is not in docs/RUNTIMES.md: {text.strip()}")
    return cited


def check_invariants(tree):
    cited = 0
    for path, lines in tree.comments.items():
        if not path.endswith(CODE):
            continue
        for block in blocks(lines):
            for line, text in block:
                for one in INVARIANT.findall(text):
                    cited += 1
                    where = tree.own(path) + tree.named(block)
                    if not any(one in tree.definitions.get(p, {}) for p in where):
                        tree.error(path, line, f"{one} is defined neither here, nor in the header of this file, nor in a file that the comment names: {text.strip()}")
    return cited


def anchors(text):
    """Headings of a document as GitHub spells them in links."""
    found = []
    for heading in re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE):
        found.append(re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-"))
    return found


def headings(text):
    """Headings, and the bold paragraphs that documents use as such."""
    return {h.strip() for h in re.findall(r"^#+ (.+)$", text, re.MULTILINE)} | {
        b.strip(" .:") for b in re.findall(r"^(?:- |\d+\. )?\*\*(.+?)\*\*", text, re.MULTILINE)}


def check_documents(tree):
    cited = 0
    sources = [(path, line, text) for path, lines in tree.comments.items() for line, text in
               [(block[0][0], " ".join(part.strip() for _, part in block)) for block in blocks(lines)]]
    sources += [(path, 1, re.sub(r"\s+", " ", text)) for path, text in tree.text.items() if path.endswith(".md")]
    for path, line, text in sources:
        for name in set(re.findall(r"\bdocs/\w+\.md\b", text)):
            cited += 1
            if name not in tree.text:
                tree.error(path, line, f"{name} does not exist")
        for name, heading in re.findall(r'\b(docs/\w+\.md),? \(?"([^"]+)"', text):
            cited += 1
            if heading not in headings(tree.text.get(name, "")):
                tree.error(path, line, f'{name} has no heading "{heading}"')
        for numbers in re.findall(r"\bdocs/decisions/(\d{4}(?:(?:,| and) \d{4})*)", text):
            for number in re.findall(r"\d{4}", numbers):
                cited += 1
                if not any(p.startswith(f"docs/decisions/{number}-") for p in tree.text):
                    tree.error(path, line, f"there is no decision {number}")
    return cited


def check_links(tree):
    cited = 0
    for path, text in tree.text.items():
        if not path.endswith(".md"):
            continue
        text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"\w+:", link):
                continue
            cited += 1
            name, _, anchor = link.partition("#")
            target = os.path.normpath(os.path.join(os.path.dirname(path), name)) if name else path
            if not os.path.exists(os.path.join(ROOT, target)):
                tree.error(path, 1, f"the link {link} leads nowhere")
            elif anchor and anchor not in anchors(tree.text.get(target, "")):
                tree.error(path, 1, f"{target} has no heading #{anchor}")
    numbers = sorted(p for p in tree.text if re.match(r"docs/decisions/\d{4}-", p))
    for path in numbers:
        number = os.path.basename(path)[:4]
        if not tree.text[path].startswith(f"# {number}: "):
            tree.error(path, 1, "the title has another number than the file")
        if sum(os.path.basename(p).startswith(number) for p in numbers) > 1:
            tree.error(path, 1, f"there are two decisions {number}")
        if os.path.basename(path) not in tree.text["docs/decisions/README.md"]:
            tree.error(path, 1, "docs/decisions/README.md does not list it")
    return cited


PATH = re.compile(r"(?<![\w./~-])((?:plugin|agent|cni|tests|tools|deploy|bazel)/[\w./-]*\.(?:cc|h|c|proto|py|sh|yaml|bzl|conflist))(?![\w/])")


def check_paths(tree):
    cited = 0
    for path, text in tree.text.items():
        lines = text.splitlines() if path.endswith(".md") else []
        if os.path.basename(path) == "BUILD":
            lines = [comment for _, comment in tree.comments[path]]
        for number, line in enumerate(lines, 1):
            for name in PATH.findall(line):
                cited += 1
                if not os.path.exists(os.path.join(ROOT, name)):
                    tree.error(path, number, f"{name} does not exist")
            for name, function in re.findall(r"`([\w/]+\.(?:cc|c))`, `(\w+)`", line):
                if name in tree.text and not re.search(rf"\b{function}\(", tree.text[name]):
                    tree.error(path, number, f"{name} has no function {function}")
    return cited


def check_itself():
    """A test that finds nothing proves nothing: one broken reference of each kind is found."""
    tree = Tree.__new__(Tree)
    tree.errors, tree.definitions = [], {"a/b.h": {"I1": 1}}
    samples = {
        "docs/RUNTIMES.md": "| E1 | text | source |\n",
        "docs/decisions/README.md": "",
        "a/b.h": "//   I1  An invariant.\n",
        "a/b.cc": '// I1 and E1 exist. "\nconst char* s = "E8 I8";  // I2, E2\n// docs/NONE.md; docs/decisions/0999\n'
                  '// docs/RUNTIMES.md, "None"\n',
        "README.md": "[a](none.md) [b](#none)\n# A heading\n[c](#a-heading)\n`plugin/none.cc`\n`a/b.cc`, `None`\n",
    }
    tree.text = samples
    tree.comments = {path: comments(path, text) for path, text in samples.items()}
    for check in CHECKS:
        check(tree)
    assert len(tree.errors) == 9, tree.errors


CHECKS = (check_requirements, check_invariants, check_documents, check_links, check_paths)


def main():
    check_itself()
    tree = Tree()
    counts = {check.__name__[6:]: check(tree) for check in CHECKS}
    print("\n".join(sorted(set(tree.errors))))
    print(f"references: {counts}, {len(set(tree.errors))} broken")
    # The tree was found at all.
    sys.exit(1 if tree.errors or min(counts.values()) < 20 else 0)


main()
