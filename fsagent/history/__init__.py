"""History as an interface: questions about it, and taking things back. Over repo and store."""
