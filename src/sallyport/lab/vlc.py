"""VLC as a server of RTSP; a program of its own.

    python -m sallyport.lab.vlc ADDRESS PORT FILE

It sends the file again and again at `/film`. By its library, since VLC itself refuses to be root,
and where a lab runs there may be no other user.
"""

import ctypes
import sys
import threading


def serve(address: str, port: str, file: str) -> None:
    """Serve until the process is killed."""
    vlc = ctypes.CDLL("libvlc.so.5")
    for name in ("libvlc_new", "libvlc_media_new_path", "libvlc_media_player_new_from_media"):
        getattr(vlc, name).restype = ctypes.c_void_p
    arguments = (ctypes.c_char_p * 2)(b"--no-audio-time-stretch", b"--quiet")
    instance = ctypes.c_void_p(vlc.libvlc_new(len(arguments), arguments))
    media = ctypes.c_void_p(vlc.libvlc_media_new_path(instance, file.encode()))
    where = f"[{address}]" if ":" in address else address
    for option in (f":sout=#rtp{{sdp=rtsp://{where}:{port}/film}}", ":input-repeat=65535"):
        vlc.libvlc_media_add_option(media, option.encode())
    player = ctypes.c_void_p(vlc.libvlc_media_player_new_from_media(media))
    if vlc.libvlc_media_player_play(player):
        raise SystemExit(f"cannot serve at {address}, port {port}")
    threading.Event().wait()


if __name__ == "__main__":
    serve(*sys.argv[1:])
