"""The ground's end of the space link: session, actions, uploads, boots, the on-board clock."""
