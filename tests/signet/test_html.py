"""The environment of all pages: it escapes values, refuses unknown names and formats figures."""

import jinja2
import pytest

from signet.html import interval, page_environment, percent, typeset


def test_shares_and_intervals_are_whole_per_cents_tied_to_their_sign() -> None:
    assert percent(0.857) == "86\u202f%"
    assert interval((0.601, 0.96)) == "60–96\u202f%"


def test_prose_is_escaped_and_its_flags_and_code_are_marked() -> None:
    assert typeset("<b> 95 % of `x`") == "&lt;b&gt; 95\u202f% of <code>x</code>"
    assert typeset("Use --seeds 3, or more.") == 'Use <code class="flag">--seeds 3</code>, or more.'
    assert typeset("a well--known word") == "a well--known word"


@pytest.mark.parametrize("package", ["services.trainer.drawing", "services.evaluator.reports.html"])
def test_a_page_s_environment_escapes_values_and_refuses_unknown_names(package: str) -> None:
    environment = page_environment(package)
    assert environment.list_templates(["html"])
    assert environment.from_string("{{ x }} {{ 0.5|percent }}").render(x="<i>") == "&lt;i&gt; 50\u202f%"
    with pytest.raises(jinja2.UndefinedError, match="'y' is undefined"):
        environment.from_string("{{ y }}").render(x=1)


def test_control_characters_of_a_name_are_escaped_and_not_lost() -> None:
    name = "\u202egnp\x1b[2J\na\x00<b>"
    escaped = r"\u202egnp\x1b[2J\na\x00&lt;b&gt;"
    environment = page_environment("services.trainer.drawing")
    template = "{{ x }}\n<i title='{{ x }}'>{{ x|typeset }}</i> {{ [x, x]|join(',') }}"
    shown = f"{escaped}\n<i title='{escaped}'>{escaped}</i> {escaped},{escaped}"
    assert environment.from_string(template).render(x=name) == shown
