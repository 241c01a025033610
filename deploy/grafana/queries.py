"""Lists the queries of the dashboards with Grafana's variables filled in, so that they can run without Grafana."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

# The values that Grafana would fill in: every run, and times for a dashboard of the last minutes.
_VARIABLES = {"$run": ".*", "$__rate_interval": "1m", "$__range": "30m"}

_WORDS = {"and", "bool", "by", "group_left", "group_right", "ignoring", "offset", "on", "or", "unless", "without"}


@dataclass(frozen=True)
class Query:
    """One target of a panel.

    Attributes:
        dashboard: uid.
        panel: title.
        ref: id of the query in its panel, A for the first.
        expression: PromQL, with Grafana's variables filled in.
        instant: whether the panel queries one time only, and not a range of times.
    """

    dashboard: str
    panel: str
    ref: str
    expression: str
    instant: bool

    @property
    def in_view(self) -> str:
        """PromQL that has a result now if the panel shows anything. A graph also shows earlier values of its range."""
        return self.expression if self.instant else f"last_over_time(({self.expression})[{_VARIABLES['$__range']}:5s])"


def queries(dashboards: Path) -> list[Query]:
    """All queries of all dashboards in this folder."""
    listed = []
    for path in sorted(dashboards.glob("*.json")):
        board = json.loads(path.read_text(encoding="utf-8"))
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                expression = target["expr"]
                for variable, value in _VARIABLES.items():
                    expression = expression.replace(variable, value)
                listed.append(Query(board["uid"], panel["title"], target["refId"], expression, target["instant"]))
    return listed


def metrics(expression: str) -> set[str]:
    """Names of the metrics and recorded series that a PromQL expression reads."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]', " ", expression)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
    return set(re.findall(r"(?<![\w.:])[a-zA-Z_:][\w:]*(?![\w:]*\s*\()", bare)) - _WORDS
