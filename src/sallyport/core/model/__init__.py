"""The SDK's objects: sessions, connections, bindings, events, filters, chains of data filters.

An object knows its own state and asks the `Engine` protocol for everything else; `core.engine`
implements that protocol. So the model never imports the gateway.
"""
