"""C kernels behind cffi and their thin Python wrappers: one call a frame or a whole stream, never an octet."""

from flight.kernels.binding import KernelError, ReadBuffer, WriteBuffer
from flight.kernels.crc import crc16
from flight.kernels.packets import PacketColumns, Stop, split_packets
from flight.kernels.randomizer import randomize_tm, randomize_tm_long

__all__ = [
    "KernelError",
    "PacketColumns",
    "ReadBuffer",
    "Stop",
    "WriteBuffer",
    "crc16",
    "randomize_tm",
    "randomize_tm_long",
    "split_packets",
]
