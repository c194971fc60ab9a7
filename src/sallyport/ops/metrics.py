"""The metrics: their names, meanings and labels.

Labels are bounded: protocols and filters of the configuration, registered reasons, workers. None is
an address or a user.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one metric counts or measures."""

    kind: Kind
    text: str
    labels: tuple[str, ...] = ()


_VERDICT = ("worker", "filter", "verdict", "reason")

METRICS: Mapping[str, Meaning] = {
    "sallyport_build_info": Meaning(
        "gauge", "Always 1; the label says which release runs.", ("version",)
    ),
    "sallyport_ready": Meaning("gauge", "1 while clients can be served, as /readyz says."),
    "sallyport_degraded": Meaning("gauge", "1 while `sallyport status` says degraded."),
    "sallyport_worker_up": Meaning(
        "gauge", "1 when the worker serves and answered within a second.", ("worker",)
    ),
    "sallyport_worker_restarts_total": Meaning(
        "counter", "How often the process of a worker was replaced.", ("worker",)
    ),
    "sallyport_worker_cpu_seconds_total": Meaning(
        "counter", "Processor time of the worker's process.", ("worker",)
    ),
    "sallyport_worker_resident_bytes": Meaning(
        "gauge", "Memory of the worker's process.", ("worker",)
    ),
    "sallyport_sessions_active": Meaning(
        "gauge", "Sessions: clients that are served now.", ("worker",)
    ),
    "sallyport_sessions_total": Meaning("counter", "Sessions that have begun.", ("worker",)),
    "sallyport_control_connections_active": Meaning(
        "gauge", "Control connections that run.", ("worker",)
    ),
    "sallyport_control_connections_total": Meaning(
        "counter",
        "Control connections: allowed, refused by policy, denied by a filter, or failed, because"
        " the server was not reached.",
        _VERDICT,
    ),
    "sallyport_bindings_active": Meaning(
        "gauge", "Bindings: ports that are held now.", ("worker",)
    ),
    "sallyport_bind_requests_total": Meaning("counter", "Binds that were asked for.", _VERDICT),
    "sallyport_bind_duration_seconds": Meaning(
        "histogram", "From the call of a granted bind to its answer, pinhole included.", ("worker",)
    ),
    "sallyport_transfers_active": Meaning(
        "gauge", "Transfers that run, inbound and outbound.", ("worker",)
    ),
    "sallyport_transfers_total": Meaning(
        "counter",
        "Bindings (inbound), permissions (outbound) and transfers of an earlier process (adopted)"
        " that are over, by how they ended.",
        ("worker", "filter", "direction", "reason"),
    ),
    "sallyport_relay_bytes_total": Meaning(
        "counter",
        "Payload of transfers on both data paths, counted when they end.",
        ("worker", "direction"),
    ),
    "sallyport_refusals_total": Meaning(
        "counter",
        "Whatever was refused, by reason; `sallyport reasons CODE` explains each.",
        ("worker", "reason"),
    ),
    "sallyport_filter_faults_total": Meaning(
        "counter", "Errors that filters raised.", ("worker", "filter")
    ),
    "sallyport_ports_free": Meaning(
        "gauge",
        "Ports that bindings can still have, at the address with the fewest.",
        ("worker", "transport"),
    ),
    "sallyport_ports": Meaning(
        "gauge", "Ports that bindings may have, of each transport at each address.", ("worker",)
    ),
    "sallyport_log_records_lost_total": Meaning(
        "counter", "Records that could not be written to the log.", ("worker",)
    ),
    "sallyport_kernel_errors_total": Meaning(
        "counter",
        "Operations that the kernel refused, though nothing was wrong with them: no memory, a full"
        " table, an answer that did not come.",
        ("worker", "operation"),
    ),
    "sallyport_dropped_packets_total": Meaning(
        "counter",
        "Packets that were dropped for us: strangers (no pinhole), invalid (no connection),"
        " spoofed (not from where their source says).",
        ("reason",),
    ),
    "sallyport_table_repairs_total": Meaning(
        "counter", "How often tables or settings were changed by others, and put in order."
    ),
    "sallyport_config_reloads_total": Meaning(
        "counter", "Reloads, by whether the file was taken.", ("result",)
    ),
    "sallyport_config_last_reload_success": Meaning(
        "gauge", "1 when the last reload, or the start, took the configuration."
    ),
    "sallyport_config_last_reload_timestamp_seconds": Meaning(
        "gauge", "When the configuration in force was taken."
    ),
}
"""Every metric, by its name."""
