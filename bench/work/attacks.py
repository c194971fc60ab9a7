"""What one client notices while another host attacks the gateway."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import msgspec

from bench.errors import Absent
from bench.load.flood import Attack, FloodJob
from bench.scale import Scale
from bench.setups.base import answer_of, running
from bench.stats import percentile
from bench.work.item import Case, Item, Measure, Metric, Stand

_PATIENCE_SECONDS = 20.0


class AttacksItem(Item):
    """One item of the benchmarks; the module says what it measures."""

    name = "attacks"
    title = "Under attack: what another client notices"
    method = (
        "One client makes transfers on one control connection, first in peace, then while another"
        " floods: *binds*, eight control connections that announce port after port and use none;"
        " *connections*, eight at a time that are reset once the server has said hello;"
        " *half-open controls*, 400 connections that begin a line and never end it;"
        " *TFTP requests*, 5 000 a second, each from another port, of transfers that never go on;"
        " *SYNs*, 20 000 a second from outside at the gateway's ports, half of them in the"
        " server's name, half in those of hosts that do not exist. Flooder,"
        " client, server and gateway share the processors, so every setup loses something; *kept*"
        " is what is left of the rate, round by round."
    )
    metrics = (
        Metric("kept", "kept", "of the rate in peace", 2, is_drawn=True),
        Metric("peace", "in peace", "transfers/s", is_compared=False),
        Metric("rate", "under attack", "transfers/s"),
        Metric("p50", "transfer p50", "µs"),
        Metric("p99", "transfer p99", "µs"),
        Metric("failures", "failures", "", is_compared=False),
    )
    setups = ("helper", "sallyport", "sallyport-limits", "dante")
    reference = "helper"

    def cases(self, scale: Scale) -> Sequence[Case]:
        """Implement `Item.cases`."""
        return [Case(attack, kind=attack) for attack in Attack]

    @contextmanager
    def prepared(self, stand: Stand, setup: str, case: Case, scale: Scale) -> Iterator[Measure]:
        """Implement `Item.prepared`."""
        there = stand.setup(setup)
        lab = there.lab
        attack = Attack(case.kind)
        if attack is Attack.DATAGRAMS and setup == "dante":
            raise Absent("it takes datagrams by SOCKS alone")
        job = FloodJob(attack, there.route, str(lab.gateway.address4))
        argv = [sys.executable, "-m", "bench.load.flood", msgspec.json.encode(job).decode()]
        attacker = lab.stranger if attack is Attack.SYNS else lab.clients[1]

        def measure() -> Mapping[str, float]:
            peace = there.transfers(1, scale.seconds)
            with running(attacker, argv, lab.folder / "flood.log") as process:
                answer_of(process, str, _PATIENCE_SECONDS)
                attacked = there.transfers(1, scale.seconds)
            if not peace.count:
                raise Absent("no transfers even in peace")
            rates = peace.count / peace.seconds, attacked.count / attacked.seconds
            found = {
                "kept": rates[1] / rates[0],
                "peace": rates[0],
                "rate": rates[1],
                "failures": float(attacked.failures),
            }
            if attacked.count:
                found["p50"] = percentile(attacked.transfer_us, 0.5)
                found["p99"] = percentile(attacked.transfer_us, 0.99)
            return found

        yield measure
