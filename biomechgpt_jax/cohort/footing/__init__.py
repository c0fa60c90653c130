"""Where and when feet are planted: contact schedules, and the inverse kinematics that hold feet to the floor."""
