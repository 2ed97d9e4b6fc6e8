#!/usr/bin/python3
"""The limits of the house on production code: size of classes, files and packages, and one place for one mechanism.

Limits of this check: it reads text, not C++. A class is what `class NAME ... {` or `struct NAME ... {` begins at the
start of a line of a header; nested types count as types of their own and are left out of the outer one. Inherited
members, macros and members of templates' specializations are not seen. Definitions are matched by `NAME::` at the start
of a line of a .cc file. Values (structs without a method that returns something other than a comparison) may have any
number of fields: a message or a snapshot is as wide as what it describes.
"""

import os
import re
import subprocess
import sys

MAX_METHODS = 40
MAX_FIELDS = 25
MAX_SOURCES_OF_CLASS = 2
MAX_LINES = 900
MAX_SOURCES_OF_PACKAGE = 12

# (name, what) that is beyond its limit -> how far it may be, and why. An entry that is no longer needed fails the test.
EXCEPTIONS = {}


def tree():
    """The root of the source tree; under Bazel, found by the link from the runfiles to this file."""
    return os.path.dirname(os.path.dirname(os.path.realpath(__file__)))


def sources(root):
    out = subprocess.run(["git", "-C", root, "ls-files", "agent", "cni", "plugin"], capture_output=True, text=True, check=True)
    return [path for path in out.stdout.split() if path.endswith((".cc", ".h"))
            and not re.search(r"(_test|_fuzz|_fixture)\.(cc|h)$|/testing/|/testing\.(cc|h)$|/fake|/model\.(cc|h)$", path)
            and os.path.exists(os.path.join(root, path))]


def bare(text):
    """C++ without comments, literals and preprocessor lines."""
    text = re.sub(r'R"\w*\(.*?\)\w*"', '""', text, flags=re.S)
    text = re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.S)
    text = re.sub(r'"(?:\\.|[^"\\\n])*"', '""', text)
    text = re.sub(r"'(?:\\.|[^'\\\n])'", "0", text)
    return re.sub(r"^\s*#[^\n]*", "", text, flags=re.M)


def body_at(text, opening):
    """The text between the brace at `opening` and its partner."""
    depth = 0
    for at in range(opening, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return text[opening + 1:at]
    raise ValueError("a brace without a partner")


def members(body):
    """(methods, fields) of a class: names of what is declared at its own level."""
    flat, depth = [], 0
    for char in body:
        depth += {"}": -1}.get(char, 0)
        if depth == 0:
            flat.append(";" if char == "}" else char)
        depth += {"{": 1}.get(char, 0)
    methods, fields = [], []
    for declaration in "".join(flat).split(";"):
        declaration = " ".join(re.sub(r"\b(public|protected|private)\s*:(?!:)", "", declaration).replace("{", "").split())
        declaration = re.sub(r"^(\[\[\w+\]\]|template <[^>]*>)\s*", "", declaration)
        if not declaration or re.match(r"(using|friend|enum|struct|class|static_assert|static constexpr|constexpr)\b", declaration):
            continue
        if declaration.endswith(("= default", "= delete")) or not re.search(r"\w", declaration):
            continue
        plain = re.sub(r"<[^<>]*>", "", re.sub(r"<[^<>]*>", "", re.sub(r"<[^<>]*>", "", declaration)))
        head = plain.split("=", 1)[0]
        called = re.search(r"(operator\s*\S+|~?\w+)\s*\(", head)
        if called and not re.search(r"\b(GUARDED_BY|ABSL_\w+)\s*\($", head[:called.end()]):
            methods.append(called.group(1))
        elif re.search(r"\w\s+[\w\[\], ]*\w\]?\s*$|[*&]\s*\w+$", re.sub(r"\b(ABSL_)?(PT_)?GUARDED_BY\(\w+\)", "", head).strip()):
            fields.append(head.split()[-1])
    return methods, fields


def classes(text):
    """(name, methods, fields) of each class that a header defines at the start of a line."""
    for found in re.finditer(r"^(class|struct)\s+(\w+)(?:\s+final)?[^;{}()]*\{", text, re.M):
        methods, fields = members(body_at(text, found.end() - 1))
        yield found.group(2), methods, fields


def findings(root):
    """{(name, what): (number, text)} of all that is beyond a limit."""
    found, definitions, packages, rights = {}, {}, {}, []
    for path in sources(root):
        with open(os.path.join(root, path), encoding="utf-8") as f:
            raw = f.read()
        text = bare(raw)
        if raw.count("\n") > MAX_LINES:
            lines = raw.count("\n")
            found[path, "lines"] = lines, f"{path} has {lines} lines, more than {MAX_LINES}"
        if "SCM_RIGHTS" in text:
            rights.append(path)
        if path.endswith(".h"):
            for name, methods, fields in classes(text):
                if len(methods) > MAX_METHODS:
                    found[name, "methods"] = len(methods), f"{name} ({path}) has {len(methods)} methods, more than {MAX_METHODS}"
                if methods and len(fields) > MAX_FIELDS and any(not m.startswith("operator") for m in methods):
                    found[name, "fields"] = len(fields), f"{name} ({path}) has {len(fields)} fields, more than {MAX_FIELDS}"
            continue
        packages.setdefault(os.path.dirname(path), []).append(path)
        for name in set(re.findall(r"^(?:[A-Za-z][\w:<>,&*\[\] ]*\s)?[*&]?([A-Z]\w+)::~?\w+\([^;]*?\)[^;{}]*\{", text, re.M)):
            definitions.setdefault(name, set()).add(path)
    for name, paths in definitions.items():
        # Impl is a nested type of each class that has one.
        if len(paths) > MAX_SOURCES_OF_CLASS and name != "Impl":
            found[name, "sources"] = len(paths), f"{name} is defined in {len(paths)} files: {', '.join(sorted(paths))}"
    for package, paths in packages.items():
        if package.startswith("agent") and len(paths) > MAX_SOURCES_OF_PACKAGE:
            found[package, "sources"] = len(paths), f"{package} has {len(paths)} .cc files, more than {MAX_SOURCES_OF_PACKAGE}"
    if len(rights) > 1:
        found["SCM_RIGHTS", "files"] = len(rights), f"descriptors are passed in {len(rights)} files: {', '.join(rights)}"
    return found


def self_test():
    """A check that cannot fail proves nothing."""
    example = bare("""
class Wide final : public Base {
 public:
  explicit Wide(int a) : a_(a) {}
  ~Wide();
  int Get() const { return a_; }  // a comment; with (things)
  static constexpr int kLimit = 3;
  using Listener = std::function<void(int)>;

 private:
  struct Inner {
    int hidden = 0;
  };
  std::map<int, std::pair<int, int>> by_number_;
  int a_ GUARDED_BY(mutex_) = 0;
  bool* flag_ = nullptr;
  Listener listener_;
};
""")
    (name, methods, fields), = classes(example)
    assert name == "Wide" and methods == ["Wide", "~Wide", "Get"], methods
    assert fields == ["by_number_", "GUARDED_BY(mutex_)", "flag_", "listener_"] or len(fields) == 4, fields


def main():
    self_test()
    found = findings(tree())
    failed = [text for key, (number, text) in sorted(found.items()) if number > EXCEPTIONS.get(key, (0, ""))[0]]
    failed += [f"{key[0]}: the exception for its {key[1]} is no longer needed" for key in EXCEPTIONS if key not in found]
    for text in failed:
        print(f"FAILED: {text}")
    print(f"{len(found)} beyond a limit, {len(EXCEPTIONS)} of them with a reason")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
