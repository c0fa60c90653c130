"""Where and when feet stand: schedules of contact, and the inverse kinematics that holds feet to the floor."""
