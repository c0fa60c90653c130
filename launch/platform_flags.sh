# Sourced by the launchers: flags of XLA that let communication and computation overlap, for PLATFORM gpu or tpu.
# What is set already wins: flags of the environment come last. config.json of the run records all of them.
# Names are recalled, not tried on the hardware [memory]; a flag that a build of XLA does not know ends the program at
# once with its name: remove it here.
#   https://docs.jax.dev/en/latest/gpu_performance_tips.html and the flags that public TPU training code sets

platform_flags() {
  case ${1:-} in
  gpu)
    export XLA_FLAGS="--xla_gpu_enable_latency_hiding_scheduler=true ${XLA_FLAGS:-}" # [memory]
    export NCCL_DEBUG=${NCCL_DEBUG:-WARN}
    ;;
  tpu)
    LIBTPU_INIT_ARGS="--xla_tpu_enable_async_collective_fusion=true \
--xla_tpu_enable_async_collective_fusion_fuse_all_gather=true \
--xla_tpu_enable_async_collective_fusion_multiple_steps=true \
--xla_tpu_overlap_compute_collective_tc=true \
--xla_enable_async_all_gather=true ${LIBTPU_INIT_ARGS:-}" # [memory]
    export LIBTPU_INIT_ARGS
    ;;
  cpu | "") ;;
  *)
    echo "PLATFORM is $1; give cpu, gpu or tpu" >&2
    return 2
    ;;
  esac
}
