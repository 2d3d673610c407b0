"""Models in eager torch: the network `ca`, the rule-based `table`."""
