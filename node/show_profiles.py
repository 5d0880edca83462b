"""Profiles and what a device tells through them, for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from node.humane import clean
from node.show import listed, table

Document = Mapping[str, Any]


def profiles(rows: Sequence[Document]) -> RenderableType:
    made = table("profile", "for", "sysObjectID begins", "DS1-MIB", "besides")
    for row in rows:
        made.add_row(
            row["profile"],
            row["title"],
            " ".join(row["object_ids"]) or "whatever",
            "yes" if row["ds1"] else "no",
            " ".join([*row["columns"], *row["scalars"]]),
        )
    return listed(made, rows, "no profiles")


def trial(document: Document) -> RenderableType:
    made = table("field", "OID", "value", "means")
    for row in document["fields"]:
        missing = row["value"] is None
        made.add_row(
            row["field"],
            row["oid"],
            "" if missing else clean(row["value"]),
            Text(row["means"], "red" if missing else ""),
        )
    if not document["advice"]:
        return Group(made, "", Text("the profile fits", "green"))
    advice = [Text(clean(line), "yellow") for line in document["advice"]]
    return Group(made, "", Text("what does not fit:", "bold"), *advice)
