"""Time, waiting and serial execution, as the core knows them: each is handed in from outside."""
