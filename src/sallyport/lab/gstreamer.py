"""A server and a player of RTSP, by GStreamer's libraries; programs of their own, told by lines.

    python -m sallyport.lab.gstreamer serve ADDRESS PORT PLAYED RECORDED
    python -m sallyport.lab.gstreamer play PIPELINE

`PLAYED` is what makes a film at `/film`, `RECORDED` what takes one at `/tape`. A player reads
`play`, `pause`, `seek SECONDS` and `stop`, and says `done` to each. By ctypes, since this needs a
dozen functions, and the bindings for Python another 60 MB.
"""

import ctypes
import sys

_PLAYING, _PAUSED, _NULL = 4, 3, 1
_RECORD = 2
_TIME_FORMAT = 3
_FLUSH_TO_KEY_UNIT = 1 | 4
_SECOND = 1_000_000_000


def _library(name: str, **returns: object) -> ctypes.CDLL:
    """Load a library, and say what those of its functions return that return no number."""
    made = ctypes.CDLL(name)
    for function, value in returns.items():
        getattr(made, function).restype = value
    return made


def serve(address: str, port: str, played: str, recorded: str) -> None:
    """Serve until the process is killed."""
    pointer = ctypes.c_void_p
    gst = _library("libgstreamer-1.0.so.0", gst_init=None)
    glib = _library("libglib-2.0.so.0", g_main_loop_new=pointer, g_main_loop_run=None)
    rtsp = _library(
        "libgstrtspserver-1.0.so.0",
        gst_rtsp_server_new=pointer,
        gst_rtsp_server_get_mount_points=pointer,
        gst_rtsp_media_factory_new=pointer,
        gst_rtsp_server_attach=ctypes.c_uint,
    )
    gst.gst_init(None, None)
    server = pointer(rtsp.gst_rtsp_server_new())
    rtsp.gst_rtsp_server_set_address(server, address.encode())
    rtsp.gst_rtsp_server_set_service(server, port.encode())
    mounts = pointer(rtsp.gst_rtsp_server_get_mount_points(server))
    for path, pipeline in ((b"/film", played), (b"/tape", recorded)):
        factory = pointer(rtsp.gst_rtsp_media_factory_new())
        rtsp.gst_rtsp_media_factory_set_launch(factory, f"( {pipeline} )".encode())
        if path == b"/tape":
            rtsp.gst_rtsp_media_factory_set_transport_mode(factory, _RECORD)
        rtsp.gst_rtsp_mount_points_add_factory(mounts, path, factory)
    if not rtsp.gst_rtsp_server_attach(server, None):
        raise SystemExit(f"cannot listen at {address}, port {port}")
    glib.g_main_loop_run(pointer(glib.g_main_loop_new(None, 0)))


def play(pipeline: str) -> None:
    """Do what is read, until it ends."""
    pointer = ctypes.c_void_p
    gst = _library("libgstreamer-1.0.so.0", gst_init=None, gst_parse_launch=pointer)
    gst.gst_init(None, None)
    made = pointer(gst.gst_parse_launch(pipeline.encode(), None))
    states = {"play": _PLAYING, "pause": _PAUSED, "stop": _NULL}
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "seek":
            there = ctypes.c_int64(int(float(argument) * _SECOND))
            gst.gst_element_seek_simple(made, _TIME_FORMAT, _FLUSH_TO_KEY_UNIT, there)
        else:
            gst.gst_element_set_state(made, states[command])
        gst.gst_element_get_state(made, None, None, ctypes.c_uint64(10 * _SECOND))
        sys.stdout.write("done\n")
        sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(*sys.argv[2:])
    else:
        play(sys.argv[2])
