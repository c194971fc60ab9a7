"""The SDK's objects: sessions, connections, bindings, events, filters, chains of data filters."""
