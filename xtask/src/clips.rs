//! Encodes the media that `hearth load-test` publishes, with ffmpeg.
//!
//! * **Out:** `crates/client/clips`: VP8 and H.264 in three sizes, Opus; about 2 MB.
//! * **Invariant:** a clip is four seconds at 30 frames a second, and its first frame is its only
//!   key frame.

use std::process::Command;

use crate::{say, tree};

/// Width, height, kbit/s.
const SIZES: [(u32, u32, u32); 3] = [(1280, 720, 1_500), (640, 360, 450), (320, 180, 140)];

/// Makes all of them anew.
pub(crate) fn run() -> Result<(), String> {
    for (width, height, kbps) in SIZES {
        let rate = format!("{kbps}k");
        let picture = format!("testsrc2=size={width}x{height}:rate=30");
        let common = ["-f", "lavfi", "-i", &picture, "-t", "4", "-pix_fmt", "yuv420p"];
        let bits = ["-b:v", &rate, "-maxrate", &rate, "-bufsize", &rate, "-g", "1000"];
        let vp8 = "-c:v libvpx -keyint_min 1000 -deadline realtime -cpu-used 8 -auto-alt-ref 0 \
                   -error-resilient 1 -lag-in-frames 0";
        encode(&[&common[..], &bits, &words(vp8)].concat(), &format!("vp8-{height}.ivf"))?;
        let h264 = "-c:v libx264 -profile:v baseline -level 3.1 -preset ultrafast -bf 0 -x264-params \
                    keyint=1000:scenecut=0:repeat-headers=1:sliced-threads=0:slices=1:threads=1 -f h264";
        encode(&[&common[..], &bits, &words(h264)].concat(), &format!("h264-{height}.h264"))?;
    }
    let text = "Here is a room in which ten people talk at the same time, and everybody hears all of them \
                without a gap.";
    let speech = format!("flite=voice=rms:text='{text}'");
    let opus = "-t 4 -ar 48000 -ac 1 -c:a libopus -b:a 32k -application voip -frame_duration 20 \
                -page_duration 20000";
    encode(&[&["-f", "lavfi", "-i", &speech][..], &words(opus)].concat(), "opus-speech.ogg")
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

fn encode(args: &[&str], file: &str) -> Result<(), String> {
    let to = tree::root().join("crates/client/clips").join(file);
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-loglevel", "error", "-y"]).args(args).arg(&to);
    match command.status() {
        Ok(status) if status.success() => {
            say(&format!("made {}", to.display()));
            Ok(())
        }
        Ok(_) => Err(format!("ffmpeg could not make {file}")),
        Err(error) => Err(format!("ffmpeg is needed (apt-get install ffmpeg): {error}")),
    }
}
