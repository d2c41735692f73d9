"""Write the documentation that comes from the code.

    docs/cli.md, docs/report.schema.json     committed, and held against the code by tests
    docs/methods/                            a page for each method, and an index; made when the site is built
    README.md, between the method markers    the table of methods

Nothing here imports a method or PyTorch: pages come from docstrings, cards, signatures and recipes as they stand.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from unmask.registry import FAMILIES, Family, MethodCard
from unmask.scanning.schema import report_schema

ROOT = Path(__file__).resolve().parent.parent
DOCS, RECIPES, README = ROOT / "docs", ROOT / "recipes", ROOT / "README.md"
BEGIN, END = "<!-- methods: python .ci/reference.py -->\n", "<!-- end of methods -->\n"
FAMILY_TITLES = {
    "detector": ("Detectors", "image, face or video → real or fake"),
    "objective": ("Pre-training objectives", "images, captions or sentences → an encoder"),
    "attack": ("Attacks", "an image and a model → an image that the model gets wrong"),
    "explainer": ("Explainers", "an image and a model → a map of what the score rests on"),
    "generator": ("Generators of labelled forgeries", "a real face → a forged face and its mask"),
    "decoder": ("Decoders of vision-language models", "logits → the next token"),
}


@dataclass(frozen=True)
class Method:
    """What the files say of one method."""

    kind: str
    name: str
    card: MethodCard
    file: Path
    recipes: tuple[tuple[str, str], ...]  # file name, what it says of itself

    @property
    def page(self) -> str:
        return f"methods/{self.kind}/{self.name}.md"


def methods() -> Iterator[Method]:
    """Those of this repository, by family; methods of installed packages have pages of their own."""
    recipes = recipes_by_method()
    for kind, family in FAMILIES.items():
        for name in family.names():
            if (file := own_file(family, name)) is not None:
                yield Method(kind, name, family.card(name), file, tuple(recipes.get((kind, name), ())))


def own_file(family: Family, name: str) -> Path | None:
    file = ROOT / "src" / family.package.replace(".", "/") / f"{name}.py"
    return file if file.is_file() else None


def recipes_by_method() -> dict[tuple[str, str], list[tuple[str, str]]]:
    """(kind, name) -> (recipe file, its `about`), those that reproduce a paper before those for a laptop."""
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for path in sorted(RECIPES.glob("*.yaml"), key=lambda p: (p.stem.endswith("-tiny"), p.stem)):
        recipe = yaml.safe_load(path.read_text("utf-8"))
        kind = "objective" if recipe.get("task") == "pretraining" else "detector"
        for key in ((kind, recipe["method"]), *(("generator", name) for name in recipe.get("forge", {}))):
            found.setdefault(key, []).append((path.name, str(recipe.get("about", "")).strip()))
    return found


# --- one page for each method ----------------------------------------------------------------------------------------


def page(method: Method) -> str:
    module = ast.parse(method.file.read_text("utf-8"))
    card = method.card
    parts = [f"# {card.title}", f"`{method.name}` · {method.kind} · `{method.file.relative_to(ROOT)}`"]
    parts += [prose(ast.get_docstring(module) or "")]
    facts = {"Paper": card.paper, "Task": card.task, "Licence": card.licence, "Verified": card.verified}
    if card.needs:
        facts["Needs"] = f"`pip install 'unmask[{','.join(card.needs)}]'`"
    parts += ["\n".join(f"- **{name}**: {text}" for name, text in facts.items())]
    if public := public_class(module, FAMILIES[method.kind]):
        parts += ["## Use", use(method), "## Options", options(public, method.file)]
    if method.recipes:
        parts += ["## Recipes", recipe_list(method)]
    return "\n\n".join(part for part in parts if part) + "\n"


def prose(docstring: str) -> str:
    """A docstring as Markdown: lines joined to paragraphs, indented blocks kept as code."""
    return "\n\n".join(b if b.startswith(("    ", "- ")) else " ".join(b.split()) for b in docstring.split("\n\n"))


def use(method: Method) -> str:
    create = f'unmask.create("{method.kind}", "{method.name}")'
    return f"```python\nimport unmask\n\n{method.kind} = {create}\n```"


def public_class(module: ast.Module, family: Family) -> ast.ClassDef | None:
    """The last public class of the file that has bases: the one that the registry builds."""
    own = [n for n in module.body if isinstance(n, ast.ClassDef) and n.bases and not n.name.startswith("_")]
    return own[-1] if own else None


def options(public: ast.ClassDef, file: Path) -> str:
    """The constructor's arguments with types, defaults and what its docstring says of each."""
    found = [n for n in public.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
    if not found:
        return "None."
    arguments = found[0].args
    named = [*arguments.posonlyargs, *arguments.args][1:]
    defaults: list[ast.expr | None] = [None] * (len(named) - len(arguments.defaults)) + list(arguments.defaults)
    pairs = [*zip(named, defaults, strict=True), *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    said = described(ast.get_docstring(found[0]) or "") | described(ast.get_docstring(public) or "")
    lines = []
    for argument, default in pairs:
        of = f": {ast.unparse(argument.annotation)}" if argument.annotation else ""
        value = f" = {ast.unparse(default)}" if default is not None else ""
        text = said.get(argument.arg, "")
        lines.append(f"- `{argument.arg}{of}{value}`" + (f" – {text}" if text else ""))
    return "\n".join(lines) or "None."


def described(docstring: str) -> dict[str, str]:
    """What stands under "Args:" of a docstring: name -> text."""
    block = re.search(r"^\s*Args:\n((?:[ \t]+.*\n?|\n)*)", docstring, re.MULTILINE)
    found: dict[str, str] = {}
    names: list[str] = []
    for line in block[1].splitlines() if block else ():
        if head := re.match(r"\s*(\w+(?:, \w+)*): (.*)", line):
            names = head[1].split(", ")
            found.update(dict.fromkeys(names, head[2]))
        elif names and line.strip():
            found.update({name: f"{found[name]} {line.strip()}" for name in names})
    return found


def recipe_list(method: Method) -> str:
    lines = [f"- `recipes/{name}`" + (f" – {about}" if about else "") for name, about in method.recipes]
    command = f"unmask train recipes/{method.recipes[0][0]} faces.parquet --out run"
    return "\n".join(lines) + f"\n\n```bash\n{command}\n```"


# --- tables ----------------------------------------------------------------------------------------------------------


def table(kind: str, found: list[Method], link: str, recipe_link: str) -> str:
    """name, title and paper of each, and its recipes; a `|` in a card must not end a cell."""
    lines = ["| name | method | paper | recipes |", "|---|---|---|---|"]
    for m in found:
        target = link.format(page=m.page.removeprefix("methods/"), file=m.file.relative_to(ROOT))
        recipes = ", ".join(f"[{name.removesuffix('.yaml')}]({recipe_link}/{name})" for name, _ in m.recipes)
        if not recipe_link:
            recipes = ", ".join(f"`{name}`" for name, _ in m.recipes)
        cells = (f"[`{m.name}`]({target})", m.card.title, m.card.paper, recipes)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def tables(found: list[Method], link: str, recipe_link: str, level: str) -> str:
    """A heading and a table for each family that has methods."""
    parts = []
    for kind, (title, task) in FAMILY_TITLES.items():
        if own := [m for m in found if m.kind == kind]:
            parts.append(f"{level} {title}\n\n{task[0].upper()}{task[1:]}.\n\n{table(kind, own, link, recipe_link)}")
    return "\n\n".join(parts) + "\n"


def index(found: list[Method]) -> str:
    about = (
        "One file in the source is one method, and its file name is its name. `unmask methods` prints the same in a "
        "terminal.\nThis page and the pages behind it are generated from the methods' files and from `recipes/`.\n"
    )
    return f"# Methods\n\n{about}\n{tables(found, '{page}', '', '##')}"


def readme_block(found: list[Method]) -> str:
    return BEGIN + "\n" + tables(found, "{file}", "recipes", "###") + "\n" + END


def with_block(text: str, block: str) -> str:
    """`text` with what stands between the markers exchanged."""
    before, _, rest = text.partition(BEGIN)
    return before + block + rest.partition(END)[2] if rest else text


def command_line() -> str:
    typer = [sys.executable, "-m", "typer", "unmask.app.cli", "utils", "docs", "--name", "unmask"]
    made = subprocess.run(typer, check=True, capture_output=True, text=True).stdout
    return made.replace("# `unmask`", "# Command line", 1)


def main() -> None:
    found = list(methods())
    (DOCS / "cli.md").write_text(command_line(), encoding="utf-8")
    (DOCS / "report.schema.json").write_text(report_schema(), encoding="utf-8")
    README.write_text(with_block(README.read_text("utf-8"), readme_block(found)), encoding="utf-8")
    shutil.rmtree(DOCS / "methods", ignore_errors=True)
    for method in found:
        path = DOCS / method.page
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page(method), encoding="utf-8")
    (DOCS / "methods" / "index.md").write_text(index(found), encoding="utf-8")


if __name__ == "__main__":
    main()
