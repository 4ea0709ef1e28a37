"""The ground's end of the space link: session, actions, boots, the on-board clock."""
