// WebP files written by libwebp 1.2.4 through Pillow 9.4, from the pixels (37 y + 23 x + 60 c) mod 256.
#pragma once

#include "tests/data/formats/hex_files.h"

namespace glow::make {

// [5, 7, 3]: "lossless", "lossy", "turned" (lossless, EXIF orientation 6), "animation". [6, 4, 4]:
// "lossless_alpha", "lossy_alpha".
inline NamedFiles webp_files() {
    const NamedFiles hexadecimal = {
        {"lossless",
         "524946462c000000574542505650384c200000002f06000100cd6444ff030ad948823096602dd69fecbb3318"
         "e2e18909d0c09217"},
        {"lossy",
         "52494646820000005745425056503820760000003002009d012a0700050001402625b0027432897a4ac18346"
         "9e7000e27f57cf7334c1ef7cbc2f153eeffb0cada0cfd7500231a97fe1affa4a580df4aac32f5ed6dbfef1d7"
         "76f4be94defa45ffc35ffc6035f3a7ffe29e5e44de1be28ff37c7afbfd5abcebf26fc6ffcd9b5ee1be0ec7ea"
         "e6eda5000000"},
        {"lossless_alpha",
         "5249464632000000574542505650384c250000002f03400110cd5420a2ff01826c1b8c12cce2fe6c4718e2e1"
         "110b261823c8ffca2ff700105d00"},
        {"lossy_alpha",
         "52494646aa00000057454250565038580a00000010000000030000050000414c504812000000051720164c0c"
         "f6869d7e4444c60a44f43f0256503820720000007002009d012a0400060001402625b00274ba008633e92b06"
         "be474a0000e27f57cf7334c1f0cb4ad36c69e57b63e9da5ce5fdae8ee3633a9edf5f89dfe1bda544b1077e7f"
         "cefe8e5a3fd0a35e543e7dacbdc3907994ffbf5bf67fe93744d80a7fff8c4c0d746fffae82ce9f5fff26ffdd"
         "3000"},
        {"turned",
         "524946466000000057454250565038580a000000080000000600000400005650384c200000002f06000100cd"
         "6444ff030ad948823096602dd69fecbb3318e2e18909d0c09217455849461a0000004d4d002a000000080001"
         "01120003000000010006000000000000"},
        {"animation",
         "524946464801000057454250565038580a00000002000000060000040000414e494d06000000000000000000"
         "414e4d468a000000000000000000060000040000000000025650384c720000002f0600010017a1a08d24e598"
         "1e05bd7f65f71e14b66ddba6b277d22a6c1ba9f9de1f1897f1e75f6dda06ccead43b1efceeeefec7ddb9bbcc"
         "b4efc84caa2a33652655959954958868fc6bea5ff61d99090c02002c1b9b6deb8ce87f0044b972893069429d"
         "42fbdcf76d635bd7fb97719e0f62414e4d468a000000000000000000060000040000000000005650384c7200"
         "00002f0600010017a1a08d24e5981efd4b7a5df71e14b66ddba6b277d22a6c1ba9f9de1f989c99e75f6dda06"
         "ccead43b9efd9969df9199545566ca4caa2a33a92a11d1f8d7d4bfec3b3293bb7377f73fee0e0c02002c1b9b"
         "6deb8ce87ffcefb54709f7992d59b97af69a931a8da00838c530fc1e"},
    };
    return from_hexadecimal(hexadecimal);
}
inline std::string webp_file(const std::string& name) {
    return file_named(webp_files(), name);
}

// [4000, 4000, 3], lossless, of columns in too many colors for a palette.
inline std::string large_webp() {
    const std::string begin =
        "52494646fa270000574542505650384ced2700002f9fcfe7030d7521a2ffc12293b669ebdff704ec8988c4956f0750a4ffff"
        "630222da101111049236865dff168f7098cee18c37380000d83ee87ddf32";
    return from_hexadecimal({{"", begin}})[0].second + std::string(10162, '\0');
}

}  // namespace glow::make
