"""How a problem is put to a model: instruction, system prompt, and a template for everything else.

The turns become tokens where the model is, by its chat template (`prompt_tokens.encode_chat`); a prompt in the style
"text" is one message of the role TEXT_ROLE, which reaches the model as it is.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from rsgrpo_cli.config import PrepareConfig
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.schemas import TEXT_ROLE
from rsgrpo_cli.tasks.chats import Message
from rsgrpo_cli.tasks.problems import Problem
from rsgrpo_cli.tasks.sources import Source

if TYPE_CHECKING:
    from jinja2 import Template

INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."
"""Appended to a math problem that has no such instruction."""
_ASKS_FOR_A_BOX = re.compile(
    r"\\boxed(?:\s*\{\s*(?:\}|\.{2,}|\\[lc]?dots|\\cdot|(?:\\text\s*\{\s*)?[A-Za-z]{2,})|(?!\s*\{))"
)
r"""Not `\boxed{\phantom0}`, a blank in the problem."""
_ASKS_OTHERWISE = re.compile(
    r"\b(?:form|format|line|after|with|as|by|in|inside|within|between|starts|begins)\b"
    r"(?:\W{0,4}(?:the (?:words?|phrase|line|string|prefix|marker)\W{1,4})?(?:the |final )*answer\s*:"
    r"|[^\n]{0,40}?(?:####|<answer>))",
    re.IGNORECASE,
)
"""Words for a form of answer that is not graded here: `on a line of the form Answer: $Answer`, `in <answer> tags`."""
TURN_MARKS = ("<|im_start|>", "<|start_header_id|>", "<start_of_turn>", "[INST]")
VARIABLES = ("problem", "instruction", "system_prompt", "dataset", "split", "index")


@dataclass(frozen=True)
class Phrasing:
    """How the problems of one source are put.

    Args:
        cfg: The settings.
        source: The problems.
        graded_as_math: Whether answers are verified as mathematics in a box, and not by a user's own function.
    """

    cfg: PrepareConfig
    source: Source
    graded_as_math: bool

    def messages(self, problem: Problem) -> list[Message]:
        """The chat of a problem, or its prompt as one TEXT_ROLE message.

        Raises:
            UsageError: If the template cannot be used for it.
        """
        if not isinstance(problem.text, str):
            return self._of_chat(problem, problem.text)
        instruction = self._instruction(problem.text)
        if self.template is not None:
            system, user = self.cfg.system_prompt, self._rendered(problem, instruction)
        else:
            in_system = self.cfg.instruction_role == "system"
            system = _joined(self.cfg.system_prompt, instruction if in_system else "")
            user = _joined(problem.text, "" if in_system else instruction)
        if self.cfg.prompt_style == "text":
            whole = user if self.template is not None else _joined(system, user, between="\n\n") + "\n"
            return [{"role": TEXT_ROLE, "content": whole}]
        self._refuse_turns_in_a_turn(user)
        return [*_system(system), {"role": "user", "content": user}]

    def form_asked(self, messages: Sequence[Message]) -> Literal["box", "other", "none"] | None:
        r"""In which form a prompt of this source wants the answer; None where nobody has to ask for a box.

        Args:
            messages: What `messages` returned.

        Returns:
            "other" where a form is asked for in which answers are not graded, whether or not a box is too.
        """
        if not self._wants_a_box or self.cfg.instruction == "":
            return None
        text = "\n".join(message["content"] for message in messages)
        if _ASKS_OTHERWISE.search(text):
            return "other"
        return "box" if "boxed" in text else "none"

    @property
    def id(self) -> str:
        """Hash of all that decides how a problem is put."""
        parts = self.cfg.model_dump(
            include={"system_prompt", "instruction", "instruction_role", "prompt_style", "prompt_template"}
        )
        parts |= {"default": self.instruction}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]

    @cached_property
    def template(self) -> Template | None:
        """The compiled template, if one is set.

        Raises:
            UsageError: If it is not valid Jinja, or leaves the problem out.
        """
        if self.cfg.prompt_template is None:
            return None
        from jinja2 import StrictUndefined, TemplateSyntaxError
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
        try:
            made = environment.from_string(self.cfg.prompt_template)
        except TemplateSyntaxError as error:
            raise UsageError(
                f"the prompt template is not valid Jinja: line {error.lineno}: {error.message}", _VARIABLES
            ) from error
        used = _variables(self.cfg.prompt_template)
        if "problem" not in used and used <= {*VARIABLES}:  # of other names Jinja says that there are none
            raise UsageError("the prompt template leaves the problem out", "write {{ problem }} where it belongs")
        return made

    @property
    def places_instruction(self) -> bool:
        """Whether an instruction that is set reaches the prompt: a template has to name it."""
        return self.cfg.prompt_template is None or "instruction" in _variables(self.cfg.prompt_template)

    @property
    def instruction(self) -> str:
        """What follows a problem that has no instruction of its own; empty for none."""
        return self._instruction("")

    @property
    def _wants_a_box(self) -> bool:
        return self.source.task == "math" and self.graded_as_math and not self.source.own_instruction

    def _instruction(self, text: str) -> str:
        if self.cfg.instruction is not None:
            return self.cfg.instruction
        return INSTRUCTION if self._wants_a_box and not _ASKS_FOR_A_BOX.search(text) else ""

    def _rendered(self, problem: Problem, instruction: str) -> str:
        from jinja2 import TemplateError

        values: dict[str, Any] = {
            "problem": problem.text,
            "instruction": instruction,
            "system_prompt": self.cfg.system_prompt or "",
            "dataset": self.source.name,
            "split": self.source.split,
            "index": problem.index,
        }
        assert self.template is not None
        try:
            return self.template.render(values)
        except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
            raise UsageError(
                f"the prompt template fails on {self.source.place(problem)}: {error}", _VARIABLES
            ) from error

    def _of_chat(self, problem: Problem, chat: Sequence[Message]) -> list[Message]:
        if self.template is not None or self.cfg.prompt_style == "text":
            raise UsageError(
                f"{self.source.place(problem)} is a chat already, which cannot be put as text",
                "leave --prompt-template out, or choose a column with the problem's text: --prompt-column",
            )
        in_system, instruction = self.cfg.instruction_role == "system", self.cfg.instruction
        system = _joined(self.cfg.system_prompt, instruction if in_system else "")
        *before, last = chat
        user = {**last, "content": _joined(last["content"], "" if in_system else instruction)}
        return [*_system(system), *before, user]

    def _refuse_turns_in_a_turn(self, user: str) -> None:
        if self.template is not None and any(mark in user for mark in TURN_MARKS):
            raise UsageError(
                "the prompt template writes the turns of a chat, and would stand inside the model's chat template",
                "use it as the whole prompt: --set prepare.prompt_style=text",
            )


_VARIABLES = f"it may use {', '.join(VARIABLES)}"


def _variables(template: str) -> set[str]:
    """The names that a valid template uses."""
    from jinja2 import Environment, meta

    return meta.find_undeclared_variables(Environment().parse(template))


def _joined(*parts: str | None, between: str = "\n") -> str:
    return between.join(part for part in parts if part)


def _system(text: str | None) -> list[Message]:
    return [{"role": "system", "content": text}] if text else []
