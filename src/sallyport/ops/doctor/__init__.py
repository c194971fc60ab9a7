"""What of this host keeps a gateway from working, or will: `sallyport doctor`."""
