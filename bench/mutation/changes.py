"""Every small change to a module that its tests ought to notice, made by mutmut's operators.

mutmut itself changes no decorated function (so no property) and nothing outside functions; here its
operators are applied to whole files, so that a threshold at the head of a module is changed too.
"""

import ast
import difflib
import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import libcst as cst
from libcst.metadata import MetadataWrapper
from mutmut.mutation.mutators import mutation_operators, operator_string

WORDS = {
    "Message",
    "UserError",
    "Conflict",
    "LLMError",
    "warn",
    "debug",
    "info",
    "warning",
    "error",
    "exception",
}
"""Calls that make sentences for people or lines of a log: not changed, nor is anything inside them."""
TYPES = {"cast", "TypeVar", "NewType", "getLogger", "isinstance", "len"}
"""Calls that compute nothing, and two that mutmut leaves alone because every change to them just crashes."""
QUIET = {"strict", "encoding", "ensure_ascii"}
"""Arguments that only guard against errors of a programmer or of another machine's locale."""


@dataclass(frozen=True)
class Mutant:
    """One changed line of `module` (a path from the root of the project), inside the function `where`."""

    module: str
    where: str
    before: str
    after: str
    nth: int
    """Which of several equal changes inside one function, from 0."""
    source: str
    """The whole module as changed."""

    @property
    def key(self) -> str:
        """The same as long as the function keeps its name and the line its text."""
        parts = "\0".join((self.module, self.where, self.before, self.after, str(self.nth)))
        return hashlib.sha256(parts.encode()).hexdigest()[:16]

    def diff(self, root: Path) -> str:
        """The change, readable."""
        old = (root / self.module).read_text(encoding="utf-8").splitlines()
        lines = difflib.unified_diff(old, self.source.splitlines(), self.module, self.where, lineterm="", n=4)
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class _Change:
    where: str
    old: cst.CSTNode
    new: cst.CSTNode


class _Changes(cst.CSTVisitor):
    """Collects the changes of one module."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[_Change] = []
        self._names: list[str] = []
        self._functions = 0
        self._calls = 0

    def on_visit(self, node: cst.CSTNode) -> bool:
        """Note what can be done to the node; whether to look inside it."""
        if _left_alone(node):
            return False
        if isinstance(node, (cst.FunctionDef, cst.ClassDef)):
            self._names.append(node.name.value)
            self._functions += isinstance(node, cst.FunctionDef)
        self._calls += isinstance(node, cst.Call)
        if self._functions or self._calls or isinstance(node, (cst.BaseNumber, cst.Name, cst.Comparison)):
            self.found += [_Change(".".join(self._names) or "module", node, new) for new in self._made(node)]
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        """Out of a function or class again."""
        if isinstance(original_node, (cst.FunctionDef, cst.ClassDef)) and not _left_alone(original_node):
            self._names.pop()
            self._functions -= isinstance(original_node, cst.FunctionDef)
        if isinstance(original_node, cst.Call) and not _left_alone(original_node):
            self._calls -= 1

    def _made(self, node: cst.CSTNode) -> Iterator[cst.CSTNode]:
        for kind, operator in mutation_operators:
            if not isinstance(node, kind):
                continue
            made = list(operator(node))
            if operator is operator_string:
                # "XX…XX" is enough; upper and lower case say the same again. Names of stored things that
                # stand outside functions are data, and fixed by the tests of what is stored.
                made = made[:1] if self._functions else []
            yield from (new for new in made if not _only_quiet(node, new))


def _left_alone(node: cst.CSTNode) -> bool:
    if isinstance(node, (cst.Annotation, cst.Decorator, cst.Raise, cst.Assert, cst.Import, cst.ImportFrom)):
        return True
    if isinstance(node, cst.Call):
        return _called(node) in WORDS | TYPES
    if isinstance(node, cst.Arg):
        return node.keyword is not None and node.keyword.value in QUIET
    if isinstance(node, cst.FunctionDef):
        if node.name.value in ("__repr__", "__str__"):
            return True
        return node.returns is not None and _text(node.returns.annotation) in ("Message", "UserError")
    return False


def _called(node: cst.Call) -> str:
    return node.func.attr.value if isinstance(node.func, cst.Attribute) else _text(node.func)


def _text(node: cst.CSTNode) -> str:
    return cst.Module([]).code_for_node(node)


def _only_quiet(old: cst.CSTNode, new: cst.CSTNode) -> bool:
    """Whether only a quiet argument was changed or dropped."""
    if not (isinstance(old, cst.Call) and isinstance(new, cst.Call)):
        return False
    kept = {id(one) for one in new.args}
    changed = [one for one in old.args if id(one) not in kept]
    return any(one.keyword is not None and one.keyword.value in QUIET for one in changed)


def mutants(root: Path, module: str) -> list[Mutant]:
    """All changes of a module, each that compiles once, in the order of the text."""
    source = (root / module).read_text(encoding="utf-8")
    tree = MetadataWrapper(cst.parse_module(source)).module
    texts = [tree.code_for_node(statement) for statement in tree.body]
    # Whole files are rendered once only: each change needs but its own statement anew.
    head = source[: len(source) - len("".join(texts)) - len(_footer(tree))]
    made: list[Mutant] = []
    equal: Counter[tuple[str, str, str]] = Counter()
    for at, statement in enumerate(tree.body):
        before, after = head + "".join(texts[:at]), "".join(texts[at + 1 :]) + _footer(tree)
        for where, text in _of_statement(tree, statement, texts[at]):
            gone, came = _lines(texts[at], text)
            made.append(Mutant(module, where, gone, came, equal[where, gone, came], before + text + after))
            equal[where, gone, came] += 1
    return made


def _footer(tree: cst.Module) -> str:
    return "".join(tree.code_for_node(line) for line in tree.footer)


def _of_statement(tree: cst.Module, statement: cst.CSTNode, source: str) -> Iterator[tuple[str, str]]:
    """Where, and the statement as changed; each change that compiles, and none twice."""
    visitor = _Changes()
    statement.visit(visitor)
    seen = {ast.dump(ast.parse(source))}
    for change in visitor.found:
        # A statement is never removed, so it is a node again that comes back.
        text = tree.code_for_node(cst.ensure_type(statement.deep_replace(change.old, change.new), cst.CSTNode))
        try:
            form = ast.dump(ast.parse(text))
            compile(text, "changed", "exec")
        except (SyntaxError, ValueError):
            continue
        if form not in seen:
            seen.add(form)
            yield change.where, text


def _lines(old: str, new: str) -> tuple[str, str]:
    """The lines that went and those that came, without their indent."""
    diff = list(difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=0))[2:]
    gone = [line[1:].strip() for line in diff if line.startswith("-")]
    came = [line[1:].strip() for line in diff if line.startswith("+")]
    return "\n".join(gone), "\n".join(came)
