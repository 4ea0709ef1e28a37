"""The ground segment: session, commanding, archive, dictionary export."""
