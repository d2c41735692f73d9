"""One small base class per kind of method, each with a final, checking public call."""
