//! What the system is asked for threads that keys wait for. All of it is an improvement, none of it a need.

use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetCurrentThread, PROCESS_POWER_THROTTLING_CURRENT_VERSION,
    PROCESS_POWER_THROTTLING_EXECUTION_SPEED, PROCESS_POWER_THROTTLING_STATE, ProcessPowerThrottling,
    SetProcessInformation, SetThreadInformation, SetThreadPriority, THREAD_POWER_THROTTLING_CURRENT_VERSION,
    THREAD_POWER_THROTTLING_EXECUTION_SPEED, THREAD_POWER_THROTTLING_STATE, THREAD_PRIORITY_TIME_CRITICAL,
    ThreadPowerThrottling,
};

/// Lets the calling thread run before all others, at full speed.
pub fn raise_this_thread() {
    let full_speed = THREAD_POWER_THROTTLING_STATE {
        Version: THREAD_POWER_THROTTLING_CURRENT_VERSION,
        ControlMask: THREAD_POWER_THROTTLING_EXECUTION_SPEED,
        StateMask: 0,
    };
    // SAFETY: the pseudo handle is always good; the information is read as the structure of that class, with its
    // size, during the call.
    unsafe {
        SetThreadPriority(GetCurrentThread(), THREAD_PRIORITY_TIME_CRITICAL);
        SetThreadInformation(
            GetCurrentThread(),
            ThreadPowerThrottling,
            (&raw const full_speed).cast(),
            size_of_val(&full_speed) as u32,
        );
    }
}

/// Takes the process out of EcoQoS, which Windows 11 puts programs without a window into.
pub fn keep_process_at_full_speed() {
    let full_speed = PROCESS_POWER_THROTTLING_STATE {
        Version: PROCESS_POWER_THROTTLING_CURRENT_VERSION,
        ControlMask: PROCESS_POWER_THROTTLING_EXECUTION_SPEED,
        StateMask: 0,
    };
    // SAFETY: as above.
    unsafe {
        SetProcessInformation(
            GetCurrentProcess(),
            ProcessPowerThrottling,
            (&raw const full_speed).cast(),
            size_of_val(&full_speed) as u32,
        );
    }
}
