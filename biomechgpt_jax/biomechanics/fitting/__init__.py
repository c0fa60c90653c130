"""From marker positions to coordinates: marker sets, inverse kinematics, and what the markers determine."""
