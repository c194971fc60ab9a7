"""The work items, in the order of the report."""

from bench.work.asks import AsksItem
from bench.work.attacks import AttacksItem
from bench.work.binds import BindsItem, CyclesItem, WeightItem
from bench.work.bulk import BulkItem
from bench.work.calls import CallsItem, MediaItem
from bench.work.item import Item
from bench.work.latency import LatencyItem
from bench.work.mappings import MappingsItem
from bench.work.memory import MemoryItem
from bench.work.socks import SocksItem
from bench.work.tftp import TftpItem
from bench.work.transfers import TransfersItem
from bench.work.workers import WorkersItem

ITEMS: dict[str, Item] = {
    item.name: item
    for item in (
        TransfersItem(),
        WorkersItem(),
        LatencyItem(),
        TftpItem(),
        CallsItem(),
        MediaItem(),
        BindsItem(),
        AsksItem(),
        MappingsItem(),
        SocksItem(),
        BulkItem(),
        MemoryItem(),
        WeightItem(),
        CyclesItem(),
        AttacksItem(),
    )
}
