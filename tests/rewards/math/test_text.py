import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsgrpo_cli.rewards.math.text import normalise


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("–5", "-5"),
        ("− 3", "- 3"),
        ("x²", "x^2"),
        ("10⁻⁶", "10^{-6}"),
        ("a₁", "a_1"),
        ("√2", r"\sqrt{2}"),
        ("√(x+1)", r"\sqrt{x+1}"),
        ("∛2", r"\sqrt[3]{2}"),
        ("½", r"\frac{1}{2}"),
        ("3½", r"\frac{7}{2}"),
        ("∞", r"\infty"),
        ("12π", r"12\pi"),
        ("x ≤ 2", r"x \leq 2"),
        ("（2，3）", "(2,3)"),
        ("٤٢", "42"),
        ("１２", "12"),
        ("42\u200b", "42"),
        ("\x0crac{1}{2}", r"\frac{1}{2}"),  # "\f" read as a form feed
        ("42.", "42"),
        ("42。", "42"),
        ("$42$", "42"),
        (r"\(42\)", "42"),
        ("**42**", "42"),
        ("= 42", "42"),
        ("{{42}}", "42"),
        (r"42 \\", "42"),
        ("42 % so\n", "42"),
        (r"\displaystyle 42", "42"),
        (r"\color{white}{42}", "42"),
        (r"\mathbf{42}", "42"),
        (r"\textbf{(B)}", r"\text{(B)}"),
        (r"\text{14}", "14"),
        ("7,425,000", "7425000"),
        (r"11,\! 111,\! 111", "11111111"),
        (r"1\,000", "1000"),
        ("14{,}916", "14916"),
        ("1 000 000", "1000000"),
        (r"\$16,386.20", "16386.20"),
        ("(100,200)", "(100,200)"),  # a point
        ("1,23", "1,23"),
        (r"\dfrac12", r"\frac{1}{2}"),
        (r"\tfrac1{72}", r"\frac{1}{72}"),
        (r"\frac{270}7", r"\frac{270}{7}"),
        (r"\frac\pi 2", r"\frac{\pi}{2}"),
        (r"\sqrt3", r"\sqrt{3}"),
        ("sqrt((1+2)*3)", r"\sqrt{(1+2)*3}"),
        ("x**2", "x^2"),
        (r"0.\overline{3}", r"\frac{3}{9}"),
        (r"0.1\overline{6}", r"\frac{15}{90}"),  # (16 - 1) / 90
        (r"90^{\circ}", "90"),
        ("28%", r"28\%"),
        (r"\varnothing", r"\emptyset"),
        (r"\{ \}", r"\emptyset"),
        (r"\left( \tfrac12, 3 \right]", r"( \frac{1}{2}, 3 ]"),
        ("x >= 5", r"x \geq 5"),
        (r"\langle 1,2 \rangle", "( 1,2 )"),
        ("5 ...", "5 ..."),
        ("", ""),
    ],
)
def test_one_spelling(written: str, normal: str) -> None:
    assert normalise(written) == normal


def test_a_list_keeps_its_commas() -> None:
    assert normalise("100,200", thousands=False) == "100,200"


@given(st.text(st.sampled_from("\\{}[]()frac sqrttextleft0123456789,.;:!$%^_&*+-=~\n½²√π，×"), max_size=60))
def test_any_text_has_a_spelling_without_much_growth(text: str) -> None:
    assert len(normalise(text)) <= 20 * len(text)


@given(st.integers())
def test_an_integer_is_its_own_spelling_however_it_is_grouped(number: int) -> None:
    assert (
        normalise(str(number))
        == normalise(f"{number:,}")
        == normalise(f"{number:,}".replace(",", "{,}"))
        == str(number)
    )


@pytest.mark.parametrize(
    "piece",
    [
        "{",
        "\\",
        "1",
        "1,",
        "\\frac{",
        "sqrt(",
        " ",
        ".",
        ",.",
        "\\frac1",
        "\\overline{",
        "%a",
        "%a\n",
        "\\!",
        "\\color{",
        "()",
    ],
)
@pytest.mark.timeout(60)  # it takes under a second; an expression that backtracks would take hours
def test_ten_thousand_hostile_characters_end(piece: str) -> None:
    normalise(piece * (10_000 // len(piece)))
    normalise("{" * 3000 + piece * (4_000 // len(piece)) + "}" * 3000)


def test_a_long_chain_of_texts_is_read_piece_by_piece() -> None:
    chain = r"\text{a}\," * 900  # that a pattern could split in two ways at each gap, it would never come back
    assert normalise(f"1{chain}x").startswith("1")
