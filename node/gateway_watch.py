"""Watching gateways from the command line: live on a terminal, one picture, or a line a change."""

import asyncio
import json
import time
from contextlib import aclosing

from node.ask_gateways import Gateways
from node.gateway_board import Board
from node.gateway_board import once as picture
from node.show import console


async def live(gateways: Gateways) -> None:
    """Until somebody ends it. Raises NoCluster, Unreachable, Refused at the start."""
    from node import gateway_screen

    await gateways.rows()  # that nobody answers, or that we may not ask, is told before it begins
    async with aclosing(gateways.watch()) as heard:
        await gateway_screen.show(heard)


async def lines(gateways: Gateways) -> None:
    """Each change as a line of JSON, with the `node` that says it."""
    await gateways.rows()
    async with aclosing(gateways.watch()) as heard:
        async for one in heard:
            if one.change is None:
                told = {"kind": "node", "node": one.node, "trouble": one.trouble}
            elif one.change["kind"] == "beat":
                continue
            else:
                told = {"node": one.node, **one.change}
            print(json.dumps(told, ensure_ascii=False), flush=True)


async def once(gateways: Gateways, *, as_json: bool) -> None:
    """What is known now. Raises NoCluster, Unreachable, Refused."""
    rows, document = await asyncio.gather(gateways.rows(), gateways.alarms(0))
    if as_json:
        print(json.dumps({"gateways": rows, **document}, ensure_ascii=False))
        return
    board = Board()
    board.know(rows, document)
    shown = console()
    width = shown.width if shown.is_terminal else max(80, shown.width)
    for line in picture(board, width=width, now_ms=time.time_ns() // 1_000_000):
        shown.print(line, no_wrap=True, crop=False, overflow="ignore")
