"""What all parts of a report have in common."""

from pydantic import BaseModel, ConfigDict


class ReportPart(BaseModel):
    """A part of a report. It never changes, and a field with an alias is stored under the alias."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)
