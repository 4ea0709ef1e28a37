"""What a service and an app see: the app's Protocol, the dictionary, the field types."""
