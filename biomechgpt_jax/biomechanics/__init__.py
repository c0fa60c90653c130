"""What movement is: skeleton, kinematics, trajectories, preprocessing, gait and clinical scores."""
