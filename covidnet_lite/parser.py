"""The parser of every command: its help ends in examples, and its errors suggest the word that was probably meant."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from .spelling import suggestion

MISTYPED = re.compile(r"invalid choice: '([^']+)'|unrecognized arguments: (--?[^\s=]+)")  # as argparse has it


class Parser(argparse.ArgumentParser):
    """argparse's parser, with examples and suggestions; the parsers of its commands are of this class, too."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **options: Any) -> None:
        """``examples`` are command lines, shown at the end of the help, before the ``epilog``."""
        example_text = "examples:\n" + "\n".join(f"  {line}" for line in examples) if examples else None
        options["epilog"] = "\n\n".join(filter(None, (example_text, options.get("epilog")))) or None
        super().__init__(*args, **{"formatter_class": _Help, **options})

    def error(self, message: str) -> NoReturn:
        """Ends the program with usage and message, and with the closest word where one was mistyped."""
        mistake = MISTYPED.search(message)
        closest = suggestion(mistake[1] or mistake[2], self.words()) if mistake else None
        super().error(f"{message}; did you mean {closest}?" if closest else message)

    def words(self) -> Iterator[str]:
        """The words that the command line knows: options, choices, and those of the commands."""
        for action in self._actions:
            yield from action.option_strings
            yield from (str(choice) for choice in action.choices or ())
            if isinstance(action, argparse._SubParsersAction):
                for command in action.choices.values():
                    yield from command.words()


class _Help(argparse.HelpFormatter):
    """Text with line breaks of its own keeps them; other text is wrapped."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)
