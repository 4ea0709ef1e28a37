"""The simulated world: orbit, power, heat, radio channel, scenes, clouds."""
