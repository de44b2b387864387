// SPDX-License-Identifier: GPL-2.0
/*
 * Hands the word "tryboot" of a restart on to the firmware of a Raspberry Pi.
 *
 * `reboot "0 tryboot"` is to start once with tryboot.txt in the place of config.txt. The
 * firmware learns of it by a mailbox message. Raspberry Pi's own kernel sends it; the kernel of
 * Debian (mainline) does not. A board that forgets, or this module missing, is a plain restart:
 * the system that was there before.
 */

#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/of.h>
#include <linux/reboot.h>
#include <linux/string.h>
#include <soc/bcm2835/raspberrypi-firmware.h>

/* Not among the tags of mainline; the number is that of Raspberry Pi's kernel and firmware. */
#define SET_REBOOT_FLAGS 0x00038064
#define TRYBOOT 0x1

static struct rpi_firmware *firmware;

static int on_reboot(struct notifier_block *block, unsigned long action, void *command)
{
	u32 flags = TRYBOOT;
	int error;

	if (action != SYS_RESTART || !command || !strstr(command, " tryboot"))
		return NOTIFY_DONE;
	error = rpi_firmware_property(firmware, SET_REBOOT_FLAGS, &flags, sizeof(flags));
	if (error)
		pr_err("kiosk_tryboot: the firmware does not take the flag: %d\n", error);
	else
		pr_info("kiosk_tryboot: the next start is by tryboot.txt\n");
	return NOTIFY_DONE;
}

static struct notifier_block notifier = {
	.notifier_call = on_reboot,
};

static int __init kiosk_tryboot_init(void)
{
	struct device_node *node = rpi_firmware_find_node();
	int error;

	if (!node)
		return -ENODEV;
	firmware = rpi_firmware_get(node);
	of_node_put(node);
	if (!firmware)
		return -EPROBE_DEFER;
	error = register_reboot_notifier(&notifier);
	if (error)
		rpi_firmware_put(firmware);
	return error;
}

static void __exit kiosk_tryboot_exit(void)
{
	unregister_reboot_notifier(&notifier);
	rpi_firmware_put(firmware);
}

module_init(kiosk_tryboot_init);
module_exit(kiosk_tryboot_exit);

/* No driver of that device: only so that udev loads this where there is such a firmware. */
static const struct of_device_id __maybe_unused ids[] = {
	{ .compatible = "raspberrypi,bcm2835-firmware" },
	{ }
};
MODULE_DEVICE_TABLE(of, ids);

MODULE_DESCRIPTION("Hands \"tryboot\" of a restart on to the firmware of a Raspberry Pi");
MODULE_LICENSE("GPL");
