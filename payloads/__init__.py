"""The inference payload: job manager, worker pool, products, apps."""
