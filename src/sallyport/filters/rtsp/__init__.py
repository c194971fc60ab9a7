"""RTSP: media that flows beside the control connection, and ends with it (RFC 2326, 7826).

| file | what it decides |
|---|---|
| `filter` | what a gateway loads; attaches a dialogue to each control connection |
| `dialogue` | one control connection: requests, their answers, and what each of them opens |
| `offers` | which ports a SETUP asks for, and how its header is told to the other side |
| `media` | the ports of one stream, the streams of one RTSP session, and their ends |
| `settings` | the keys of `[filters.rtsp]` |
"""

from sallyport.filters.rtsp.filter import RTSP, RTSP_SERVER, RtspFilter
from sallyport.filters.rtsp.settings import RtspSettings

__all__ = ["RTSP", "RTSP_SERVER", "RtspFilter", "RtspSettings"]
