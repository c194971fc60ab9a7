"""The user-mode data path: sockets, splice and datagrams on the event loop, without netfilter."""
