"""What most commands do: ask the node one thing, and hand programs the whole answer."""

import argparse
from typing import Any

from mesh.cli.options import connect
from mesh.cli.output import Output

Parameters = dict[str, Any]


def ask(options: argparse.Namespace, method: str, parameters: Parameters) -> tuple[Output, Any]:
    """Ask the node; with --json the answer is printed, otherwise it is for the caller to show."""
    output = Output(options)
    with connect(options) as client:
        answer = client.request(method, parameters)
    if output.as_json:
        output.document(answer)
    return output, answer
